package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/registry"
)

// The image of the registry's benchmarks, and the size of its layer.
const (
	layerImage = "registry.k8s.io/layer:1"
	layerSize  = 90 << 20
)

// need skips the benchmark if a program is missing.
func need(b *testing.B, name string) string {
	b.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath(filepath.Join("/usr/sbin", name)); err != nil {
			b.Skipf("skipped: no %s on this machine", name)
		}
	}
	return path
}

func noise(b *testing.B, size int) []byte {
	b.Helper()
	content := make([]byte, size)
	if _, err := rand.Read(content); err != nil {
		b.Fatal(err)
	}
	return content
}

// sample is a bundle for the servers, and its files as others serve them.
type sample struct {
	path, key string // of the bundle
	dir       string // files/large, files/small
	layer     digest.Digest
}

func newSample(b *testing.B) sample {
	b.Helper()
	builder := bundletest.New(b)
	builder.AddSmall(b)
	layer := noise(b, layerSize)
	builder.AddImageOf(b, layerImage, layer)
	s := sample{dir: b.TempDir(), layer: digest.FromBytes(layer)}
	if err := os.Mkdir(filepath.Join(s.dir, "files"), 0o755); err != nil {
		b.Fatal(err)
	}
	for name, size := range map[string]int{"large": largeSize, "small": smallSize} {
		content := noise(b, size)
		builder.AddFile(b, name, name, content, false)
		if err := os.WriteFile(filepath.Join(s.dir, "files", name), content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	// nginx's workers are another user.
	if err := os.Chmod(filepath.Dir(s.dir), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		b.Fatal(err)
	}
	s.path = builder.Seal(b)
	s.key = keyFile(b)
	return s
}

func keyFile(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "offk8s.pub")
	if err := os.WriteFile(path, bundletest.Key(b).PublicPEM(), 0o644); err != nil {
		b.Fatal(err)
	}
	return path
}

// serve starts offk8s serve with every blob verified.
func (s sample) serve(b *testing.B, https bool, flags ...string) *process {
	b.Helper()
	address := freeAddress(b)
	argv := []string{program(b), "serve", "--key", s.key, "--listen", address, "--state", b.TempDir(), "--verify"}
	url := "http://" + address
	if https {
		cert, key := certificateFiles(b)
		argv, url = append(argv, "--tls-cert", cert, "--tls-key", key), "https://"+address
	} else {
		argv = append(argv, "--insecure-plain-http")
	}
	return startProcess(b, url, "/files/small", append(append(argv, flags...), s.path)...)
}

// nginx starts nginx with sendfile and a worker for each core.
func (s sample) nginx(b *testing.B, https bool) *process {
	b.Helper()
	nginx, dir, address := need(b, "nginx"), b.TempDir(), freeAddress(b)
	listen, scheme := address, "http://"
	if https {
		cert, key := certificateFiles(b)
		listen, scheme = fmt.Sprintf("%s ssl; ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.3", address, cert, key), "https://"
	}
	config := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr; worker_processes auto;
events { worker_connections 4096; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; open_file_cache max=100;
client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
server { listen %[2]s; root %[3]s; } }`, dir, listen, s.dir)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		b.Fatal(err)
	}
	return startProcess(b, scheme+address, "/files/small", nginx, "-c", path, "-e", "stderr")
}

// distributionConfig is the configuration that distribution's image has, without its
// passwords: cmd/registry/config-example.yml of version 3.1.2.
const distributionConfig = `version: 0.1
log: {fields: {service: registry}}
storage: {cache: {blobdescriptor: inmemory}, filesystem: {rootdirectory: %q}, tag: {concurrencylimit: 8}}
http: {addr: %q, headers: {X-Content-Type-Options: [nosniff]}}
health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}
`

// distribution starts the registry, pushes the bundle to it, and returns it with the
// repository of the layer's image.
func (s sample) distribution(b *testing.B) (p *process, repository string) {
	b.Helper()
	program, err := buildRegistry()
	if err != nil {
		b.Logf("Debian's distribution instead: %v", err)
		program = need(b, "docker-registry")
	}
	dir, address := b.TempDir(), freeAddress(b)
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf(distributionConfig, dir, address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	p = startProcess(b, "http://"+address, "/v2/", program, "serve", config)
	opened, err := bundle.Open(b.Context(), []string{s.path}, bundletest.Options(bundletest.Key(b)))
	if err != nil {
		b.Fatal(err)
	}
	defer opened.Close()
	pushed, err := registry.Push(context.WithoutCancel(b.Context()), opened, address+"/site",
		registry.PushOptions{Options: registry.Options{Keychain: authn.NewMultiKeychain()}})
	if err != nil {
		b.Fatal(err)
	}
	for _, i := range pushed.Images {
		name := strings.TrimPrefix(i.Reference, address+"/")
		if repository, ok := strings.CutSuffix(name, "/layer:1"); ok {
			return p, repository + "/layer"
		}
	}
	b.Fatalf("no image of a layer in %v", pushed.Images)
	return nil, ""
}

// BenchmarkNginx: files of the bundle, against nginx.
func BenchmarkNginx(b *testing.B) {
	need(b, "nginx")
	s := newSample(b)
	for _, https := range []bool{false, true} {
		scheme := map[bool]string{false: "http", true: "https"}[https]
		b.Run(scheme, func(b *testing.B) {
			ours, peer := s.serve(b, https), s.nginx(b, https)
			b.Run("large", func(b *testing.B) {
				compareServers(b, ours, peer, func(url string) { many(b, url+"/files/large", 4, 8, curl) })
			})
			for _, clients := range []int{16, 64} {
				b.Run(fmt.Sprintf("small-%d", clients), func(b *testing.B) {
					compareServers(b, ours, peer, func(url string) { many(b, url+"/files/small", clients, 8000/clients, curl) })
				})
			}
		})
	}
}

// BenchmarkDistribution: an image of the bundle, against the registry of distribution.
func BenchmarkDistribution(b *testing.B) {
	s := newSample(b)
	peer, repository := s.distribution(b)
	ours := s.serve(b, false)
	image := map[string]string{ours.url: "registry.k8s.io/layer", peer.url: repository}
	wrk := need(b, "wrk")
	for name, path := range map[string]string{
		"manifest":   "/manifests/1",
		"blob-small": "/blobs/" + configOf(b, ours.url+"/v2/"+image[ours.url]+"/manifests/1"),
	} {
		url := func(p *process) string { return p.url + "/v2/" + image[p.url] + path }
		b.Run(name, func(b *testing.B) {
			rounds(b,
				func() cost { return hammer(b, ours, wrk, url(ours)) },
				func() cost { return hammer(b, peer, wrk, url(peer)) })
			b.ReportMetric(ours.peak(), "rss-MiB")
		})
	}
	for _, l := range []struct {
		name, path            string
		clients, times, piece int
	}{
		{"manifest-go", "/manifests/1", 16, 250, skopeo},
		{"blob-90MB", "/blobs/" + s.layer.String(), 4, 4, skopeo},
		{"blob-90MB-containerd", "/blobs/" + s.layer.String(), 4, 4, containerd},
	} {
		b.Run(l.name, func(b *testing.B) {
			compareServers(b, ours, peer, func(url string) { many(b, url+"/v2/"+image[url]+l.path, l.clients, l.times, l.piece) })
		})
	}
	b.Run("manifest-HEAD", func(b *testing.B) {
		compareServers(b, ours, peer, func(url string) { heads(b, url+"/v2/"+image[url]+"/manifests/1", 16, 250) })
	})
	b.Run("skopeo", func(b *testing.B) {
		program, out := need(b, "skopeo"), b.TempDir()
		compareServers(b, ours, peer, func(url string) {
			from := "docker://" + strings.TrimPrefix(url, "http://") + "/" + image[url] + ":1"
			cmd := exec.Command(program, "copy", "-q", "--src-tls-verify=false", from, "dir:"+out)
			if text, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%q: %v\n%s", cmd.Args, err, text)
			}
		})
	})
}

// hammer returns the cost of 10,000 requests for url by 16 clients of wrk. For small
// answers a client in Go takes more of the two cores than a server does.
func hammer(b *testing.B, p *process, wrk, url string) cost {
	b.Helper()
	before := p.cpu()
	out, err := exec.Command(wrk, "-t1", "-c16", "-d2s", "-H", "Accept: "+ocispec.MediaTypeImageManifest, url).CombinedOutput()
	took := p.cpu() - before
	var n, seconds float64
	if m := wrkCount.FindSubmatch(out); m != nil {
		n, _ = strconv.ParseFloat(string(m[1]), 64)
		seconds, _ = strconv.ParseFloat(string(m[2]), 64)
	}
	if err != nil || n == 0 || bytes.Contains(out, []byte("Non-2xx")) || bytes.Contains(out, []byte("Socket errors")) {
		b.Fatalf("wrk %s: %v\n%s", url, err, out)
	}
	return cost{wall: seconds / n * 10_000, cpu: took / n * 10_000}
}

var wrkCount = regexp.MustCompile(`(\d+) requests in ([\d.]+)s`)

// heads asks for the head of url by clients at the same time, each so many times. wrk
// waits for a body.
func heads(b *testing.B, url string, clients, times int) {
	b.Helper()
	q, err := http.NewRequest(http.MethodHead, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	q.Header.Set("Accept", ocispec.MediaTypeImageManifest)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range times {
				r, err := client.Do(q.Clone(b.Context()))
				if err != nil {
					b.Error(err)
					return
				}
				_ = r.Body.Close()
				if r.StatusCode != http.StatusOK {
					b.Errorf("HEAD %s: status %d", url, r.StatusCode)
				}
			}
		})
	}
	wg.Wait()
}

// configOf returns the digest of the config of the image whose manifest url gives.
func configOf(b *testing.B, url string) string {
	b.Helper()
	r, err := client.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Body.Close()
	var m ocispec.Manifest
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		b.Fatal(err)
	}
	return m.Config.Digest.String()
}

// The crowd: clients of 20 KB/s, which is far less than a link of hosts has and enough
// to be no attack, beside clients that read as fast as they can.
const (
	slowClients = 500
	slowPiece   = 4 << 10 // bytes
	slowEvery   = 200 * time.Millisecond
	fastClients = 200
)

// crowd measures the fast clients of p beside the slow ones, against the same alone.
func crowd(b *testing.B, p *process) {
	b.Helper()
	fast := func() cost { return measure(func() { many(b, p.url+"/files/small", fastClients, 40, curl) }, p.cpu) }
	rounds(b, func() cost {
		ctx, cancel := context.WithCancel(b.Context())
		slow := make([]io.ReadCloser, slowClients)
		slowly := &http.Client{Transport: client.Transport.(*http.Transport).Clone()} // leaves the fast ones their connections
		for i := range slow {
			r, err := slowly.Get(p.url + "/files/large")
			if err != nil {
				b.Fatal(err)
			}
			slow[i] = r.Body
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for piece := make([]byte, slowPiece); ctx.Err() == nil; {
				for _, r := range slow {
					_, _ = io.ReadFull(r, piece)
				}
				time.Sleep(slowEvery)
			}
		}()
		settle(p)
		c := fast()
		cancel()
		<-done
		for _, r := range slow {
			_ = r.Close()
		}
		return c
	}, fast)
}

// BenchmarkCrowd: many slow clients and the speed of fast ones, ours and nginx's. At the
// end no goroutine of theirs is left and no descriptor.
func BenchmarkCrowd(b *testing.B) {
	s := newSample(b)
	b.Run("nginx", func(b *testing.B) { crowd(b, s.nginx(b, false)) })
	for _, https := range []bool{false, true} {
		b.Run(map[bool]string{false: "http", true: "https"}[https], func(b *testing.B) {
			metrics := freeAddress(b)
			p := s.serve(b, https, "--metrics", metrics)
			goroutines, descriptors := left(b, p, metrics)
			crowd(b, p)
			b.ReportMetric(p.peak(), "rss-MiB")
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
				g, d := left(b, p, metrics)
				if g <= goroutines && d <= descriptors {
					return
				}
				if time.Now().After(end) {
					b.Fatalf("%d goroutines and %d descriptors are left, %d and %d before", g, d, goroutines, descriptors)
				}
			}
		})
	}
}

// settle returns when p has filled the buffers of its slow clients.
func settle(p *process) {
	for before := p.cpu(); ; {
		time.Sleep(slowEvery)
		now := p.cpu()
		if now-before < 0.05*slowEvery.Seconds() {
			return
		}
		before = now
	}
}

// left returns how many goroutines and descriptors p has when no client is connected.
func left(b *testing.B, p *process, metrics string) (goroutines, descriptors int) {
	b.Helper()
	client.CloseIdleConnections()
	r, err := http.Get("http://" + metrics + "/debug/pprof/goroutine?debug=1")
	if err != nil {
		b.Fatal(err)
	}
	defer r.Body.Close()
	if _, err := fmt.Fscanf(r.Body, "goroutine profile: total %d", &goroutines); err != nil {
		b.Fatal(err)
	}
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
	if err != nil {
		b.Fatal(err)
	}
	return goroutines, len(list)
}
