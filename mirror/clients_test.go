package mirror

import (
	"bytes"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/test/testenv"
)

// lab is a sealed bundle that is served over TLS to real clients.
type lab struct {
	url string // "https://127.0.0.1:port"
	ca  string // file
	dir string // temporary directory
	// altered changes the body of an answer, as a dishonest mirror would:
	// func([]byte) []byte by path.
	altered sync.Map
	mirror  *Mirror
}

func (l *lab) alter(path string, change func([]byte) []byte) { l.altered.Store(path, change) }

// newLab serves the bundle of b over TLS.
func newLab(t *testing.T, b *bundletest.Builder) *lab {
	t.Helper()
	return newLabOn(t, b, "127.0.0.1:0")
}

func newLabOn(t *testing.T, b *bundletest.Builder, addr string) *lab {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skipf("listen on %s: %v", addr, err)
	}
	caPEM, _, cert := testCertificate(t)
	m := mirrorOf(t, Options{CA: caPEM}, openBundle(t, b))
	l := &lab{dir: t.TempDir(), mirror: m}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		change, ok := l.altered.Load(r.URL.Path)
		if !ok || r.Method == http.MethodHead {
			m.ServeHTTP(w, r)
			return
		}
		good := httptest.NewRecorder()
		m.ServeHTTP(good, r)
		maps.Copy(w.Header(), good.Header())
		w.Header().Del("Content-Length")
		w.WriteHeader(good.Code)
		_, _ = w.Write(change.(func([]byte) []byte)(good.Body.Bytes()))
	}))
	_ = server.Listener.Close()
	server.Listener, server.TLS = listener, tlsConfig(cert)
	server.StartTLS()
	t.Cleanup(server.Close)
	l.url = "https://" + server.Listener.Addr().String()
	l.ca = l.write(t, "ca.crt", string(caPEM))
	return l
}

func (l *lab) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// config fetches generated configuration with curl and writes it to a file. It
// replaces only the paths of the CA and the keyring.
func (l *lab) config(t *testing.T, path, name string) string {
	t.Helper()
	text := runTool(t, []string{"HOME=" + l.dir}, "curl", "-n", "-fsS", "--cacert", l.ca, l.url+path)
	text = strings.ReplaceAll(text, caPath, l.ca)
	text = strings.ReplaceAll(text, keyringPath, filepath.Join(l.dir, "offk8s.asc"))
	return l.write(t, name, text)
}

func tryTool(t *testing.T, env []string, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	return string(out) + stderr.String(), err
}

func runTool(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	out, err := tryTool(t, env, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func smallLab(t *testing.T) *lab {
	t.Helper()
	b := bundletest.New(t)
	b.AddSmall(t)
	return newLab(t, b)
}

func TestCurl(t *testing.T) {
	testenv.NeedTool(t, "curl")
	l := smallLab(t)
	curl := func(args ...string) string {
		return runTool(t, nil, "curl", append([]string{"-sS", "--cacert", l.ca}, args...)...)
	}
	url := l.url + "/files/" + bundletest.PlainPath
	whole := curl("-f", url)
	if got := curl("-f", "-r", "0-9", url) + curl("-f", "-r", "10-", url); got != whole {
		t.Errorf("two ranges make %q, the whole is %q", got, whole)
	}
	part := l.write(t, "part", whole[:7])
	curl("-f", "-C", "-", "-o", part, url)
	if got, err := os.ReadFile(part); err != nil || string(got) != whole {
		t.Errorf("resumed: %q, %v", got, err)
	}
	kubelet := strings.Repeat("kubelet ", 4096)
	for _, args := range [][]string{{"-f"}, {"-f", "--compressed"}} {
		if got := curl(append(args, l.url+"/files/"+bundletest.KubeletPath)...); got != kubelet {
			t.Errorf("%v: %d bytes, want %d", args, len(got), len(kubelet))
		}
	}
	for _, path := range append(hostilePaths, foreignPaths...) {
		if strings.ContainsAny(path, `\`) {
			continue // curl encodes it; the raw form is tried elsewhere
		}
		code := curl("--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", l.url+path)
		if code != "400" && code != "404" {
			t.Errorf("%s: status %s", path, code)
		}
	}
}

func TestSkopeo(t *testing.T) {
	testenv.NeedTool(t, "skopeo")
	b := smallBundle(t)
	l := newLab(t, b)
	host := strings.TrimPrefix(l.url, "https://")
	for _, image := range []string{bundletest.PauseImage, bundletest.CoreDNSImage} {
		runTool(t, nil, "skopeo", "--insecure-policy", "copy", "--quiet", "--src-cert-dir", filepath.Dir(l.ca),
			"--override-arch", "amd64", "docker://"+host+"/"+image, "dir:"+filepath.Join(l.dir, "copy"))
	}
	tags := runTool(t, nil, "skopeo", "--insecure-policy", "list-tags", "--cert-dir", filepath.Dir(l.ca), "docker://"+host+"/registry.k8s.io/pause")
	if !strings.Contains(tags, `"3.10"`) {
		t.Errorf("tags: %s", tags)
	}
	out, err := tryTool(t, nil, "skopeo", "--insecure-policy", "copy", "--quiet", "--src-cert-dir", filepath.Dir(l.ca),
		"--override-arch", "s390x", "docker://"+host+"/"+bundletest.PauseImage, "dir:"+filepath.Join(l.dir, "absent"))
	if err == nil || !strings.Contains(out, "left out of the bundle") {
		t.Errorf("a platform that was left out: %v, %s", err, out)
	}
	for image, altered := range l.alterImages(t, b, "/v2/registry.k8s.io/") {
		out, err := tryTool(t, nil, "skopeo", "--insecure-policy", "copy", "--quiet", "--src-cert-dir", filepath.Dir(l.ca),
			"--override-arch", "amd64", "docker://"+host+"/"+image, "dir:"+filepath.Join(l.dir, "altered"))
		if err == nil || !strings.Contains(out, altered) {
			t.Errorf("%s with other bytes of %s: %v\n%s", image, altered, err, out)
		}
	}
}

// etcdImage is pulled for the first time when its manifest has other bytes.
const etcdImage = "registry.k8s.io/etcd:3.6"

// smallBundle is the small one with etcdImage.
func smallBundle(t *testing.T) *bundletest.Builder {
	t.Helper()
	b := bundletest.New(t)
	b.AddSmall(t)
	b.AddIndex(t, etcdImage, []string{"amd64"}, nil)
	return b
}

// alterImages gives other bytes to a layer of one image and to a manifest of another
// one. prefix is the path of requests up to the name of an image without its registry. It
// returns for each image the digest that its client must miss.
func (l *lab) alterImages(t *testing.T, b *bundletest.Builder, prefix string) map[string]string {
	t.Helper()
	_, layer := digestsOf(t, b, bundletest.CoreDNSImage)
	manifest, _ := digestsOf(t, b, etcdImage)
	l.alter(prefix+"coredns/blobs/"+layer.String(), flip)
	l.alter(prefix+"etcd/manifests/"+manifest.String(), flip)
	return map[string]string{bundletest.CoreDNSImage: layer.String(), etcdImage: manifest.String()}
}

// digestsOf returns the manifest and the layer of an image of b for amd64.
func digestsOf(t *testing.T, b *bundletest.Builder, image string) (manifest, layer digest.Digest) {
	t.Helper()
	s := &sample{Bundle: openBundle(t, b)}
	for _, i := range s.Images() {
		if i.Name != image {
			continue
		}
		manifest = i.Descriptor.Digest
		var m struct {
			Manifests []struct{ Digest digest.Digest }
			Layers    []struct{ Digest digest.Digest }
		}
		s.decode(t, manifest, &m)
		if len(m.Manifests) > 0 {
			manifest = m.Manifests[0].Digest
			s.decode(t, manifest, &m)
		}
		return manifest, m.Layers[0].Digest
	}
	t.Fatalf("%s is not in the bundle", image)
	return "", ""
}

// podman pulls by the original name of an image, with the generated registries.conf.
func TestPodman(t *testing.T) {
	testenv.NeedTool(t, "podman", "curl")
	testenv.NeedRoot(t)
	b := smallBundle(t)
	l := newLab(t, b)
	env := []string{"CONTAINERS_REGISTRIES_CONF=" + l.config(t, "/config/registries.conf", "registries.conf"), "XDG_RUNTIME_DIR=" + l.dir}
	podman := func(args ...string) (string, error) {
		storage := []string{"--root", filepath.Join(l.dir, "root"), "--runroot", filepath.Join(l.dir, "run"), "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"}
		return tryTool(t, env, "podman", append(storage, args...)...)
	}
	pull := func(image string) (string, error) {
		return podman("pull", "--platform", "linux/amd64", "--cert-dir", filepath.Dir(l.ca), image)
	}
	if out, err := pull(bundletest.PauseImage); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := podman("images", "--format", "{{.Repository}}:{{.Tag}}"); err != nil || !strings.Contains(out, bundletest.PauseImage) {
		t.Errorf("images: %v\n%s", err, out)
	}
	for image, altered := range l.alterImages(t, b, "/v2/registry.k8s.io/") {
		if out, err := pull(image); err == nil || !strings.Contains(out, altered) {
			t.Errorf("%s with other bytes of %s: %v\n%s", image, altered, err, out)
		}
	}
}

// curl and wget download what a directory lists, and sha256sum finds the file that has
// other bytes.
func TestChecksums(t *testing.T) {
	testenv.NeedTool(t, "curl", "wget", "sha256sum", "sh")
	for _, fetch := range []string{`curl -fsSO --cacert "$CA"`, `wget -q --ca-certificate="$CA"`} {
		name, _, _ := strings.Cut(fetch, " ")
		t.Run(name, func(t *testing.T) {
			l := smallLab(t)
			script := "cd \"$DIR\" && for f in SHA256SUMS kubelet cni.conf; do rm -f $f; " + fetch + " \"$URL/files/amd64/$f\" || exit 9; done; sha256sum -c SHA256SUMS"
			run := func() (string, error) {
				return tryTool(t, []string{"CA=" + l.ca, "URL=" + l.url, "DIR=" + l.dir}, "sh", "-c", script)
			}
			if out, err := run(); err != nil || !strings.Contains(out, "kubelet: OK") || !strings.Contains(out, "cni.conf: OK") {
				t.Errorf("%v\n%s", err, out)
			}
			l.alter("/files/"+bundletest.PlainPath, flip)
			if out, err := run(); err == nil || !strings.Contains(out, "cni.conf: FAILED") || !strings.Contains(out, "kubelet: OK") {
				t.Errorf("an altered file: %v\n%s", err, out)
			}
		})
	}
}

// The commands that fetch the CA keep it only if it is the one whose fingerprint they
// have, and no other certificate beside it.
func TestT36CAStep(t *testing.T) {
	testenv.NeedTool(t, "curl", "openssl", "sh")
	good, _, _ := testCertificate(t)
	other, _, _ := testCertificate(t)
	d := &pageData{ca: good}
	for _, tt := range []struct {
		name   string
		answer []byte // nil for an error
		want   string
	}{
		{"the CA", good, string(good)},
		{"another one", other, ""},
		{"another one beside it", append(bytes.Clone(good), other...), string(good)},
		{"another one before it", append(bytes.Clone(other), good...), ""},
		{"an error", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.answer == nil {
					http.NotFound(w, r)
					return
				}
				_, _ = w.Write(tt.answer)
			}))
			defer server.Close()
			file := filepath.Join(t.TempDir(), "offk8s", "ca.crt")
			commands := strings.ReplaceAll(d.steps(server.URL)[0].Commands, caPath, file)
			commands = strings.ReplaceAll(commands, "/etc/offk8s", filepath.Dir(file))
			out, err := tryTool(t, nil, "sh", "-c", commands)
			if (err == nil) != (tt.want != "") {
				t.Errorf("%v\n%s", err, out)
			}
			got, err := os.ReadFile(file)
			if string(got) != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("kept %q, %v, want %q", got, err, tt.want)
			}
			if removed := strings.Contains(out, "the file was removed"); removed != (tt.want == "") {
				t.Errorf("says that it was removed: %v\n%s", removed, out)
			}
		})
	}
}
