package bench

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// process is a server that runs beside the benchmark, on loopback.
type process struct {
	url  string
	pid  int
	stop func()
}

// startProcess runs argv and waits until path of url answers.
func startProcess(b *testing.B, url, path string, argv ...string) *process {
	b.Helper()
	// A file, as a service has its journal: what this process reads takes its time.
	output, err := os.Create(filepath.Join(b.TempDir(), "output"))
	if err != nil {
		b.Fatal(err)
	}
	defer output.Close()
	said := func() []byte { text, _ := os.ReadFile(output.Name()); return text }
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := sync.OnceFunc(func() {
		client.CloseIdleConnections()
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	b.Cleanup(stop)
	_, address, _ := strings.Cut(url, "://")
	for range 60_000 {
		select {
		case err := <-ended:
			ended <- err
			b.Fatalf("%q ended: %v\n%s", argv, err, said())
		case <-time.After(time.Millisecond):
		}
		// A request of net/http that fails takes some of the server's time.
		if c, err := net.Dial("tcp", address); err != nil {
			continue
		} else {
			_ = c.Close()
		}
		r, err := client.Get(url + path)
		if err != nil {
			continue
		}
		_ = r.Body.Close()
		if r.StatusCode == http.StatusOK {
			return &process{url: url, pid: cmd.Process.Pid, stop: stop}
		}
	}
	stop()
	b.Fatalf("%q does not answer %s%s\n%s", argv, url, path, said())
	return nil
}

// status returns the fields of stat and the peak of its memory in MiB.
func status(pid string) (stat []string, peak float64) {
	text, _ := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	_, after, _ := strings.Cut(string(text), ") ")
	text, _ = os.ReadFile(filepath.Join("/proc", pid, "status"))
	for line := range strings.Lines(string(text)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kib); n == 1 {
			peak = kib / 1024
		}
	}
	return strings.Fields(after), peak
}

// cpu returns the seconds of the process and of its children, which are workers.
func (p *process) cpu() float64 {
	all, _ := filepath.Glob("/proc/[0-9]*")
	var ticks float64
	for _, dir := range all {
		stat, _ := status(filepath.Base(dir))
		if len(stat) < 13 || filepath.Base(dir) != strconv.Itoa(p.pid) && stat[1] != strconv.Itoa(p.pid) {
			continue
		}
		for _, s := range stat[11:13] {
			n, _ := strconv.ParseFloat(s, 64)
			ticks += n
		}
	}
	return ticks / 100 // USER_HZ is 100 on every architecture of Linux that Go knows
}

// peak returns the most memory that the process has had, in MiB.
func (p *process) peak() float64 {
	_, peak := status(strconv.Itoa(p.pid))
	return peak
}

// compareServers is compare for servers; the time of the processor is theirs alone.
func compareServers(b *testing.B, ours, peer *process, load func(url string)) {
	b.Helper()
	rounds(b,
		func() cost { return measure(func() { load(ours.url) }, ours.cpu) },
		func() cost { return measure(func() { load(peer.url) }, peer.cpu) })
	b.ReportMetric(ours.peak(), "rss-MiB")
}

// freeAddress returns a loopback address on which nothing listens.
func freeAddress(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// certificate is that of all HTTPS servers here, for 127.0.0.1.
var certificate = sync.OnceValue(func() tls.Certificate {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return s.TLS.Certificates[0]
})

// certificateFiles writes the certificate and its key.
func certificateFiles(b *testing.B) (cert, key string) {
	b.Helper()
	c, dir := certificate(), b.TempDir()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		b.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600),
	); err != nil {
		b.Fatal(err)
	}
	return cert, key
}

// client keeps a connection for each of the clients that a benchmark has.
var client = sync.OnceValue(func() *http.Client {
	pool := x509.NewCertPool()
	c, err := x509.ParseCertificate(certificate().Certificate[0])
	if err != nil {
		panic(err) // the standard library's: cannot fail
	}
	pool.AddCert(c)
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 1000, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13},
	}}
})()

// program builds offk8s once and returns its path.
func program(b *testing.B) string {
	b.Helper()
	path, err := build()
	if err != nil {
		b.Fatal(err)
	}
	return path
}

var build = sync.OnceValues(func() (string, error) {
	return goBuild("github.com/offk8s/offk8s/cmd/offk8s", ".")
})

// buildRegistry builds distribution in the version of its own module, since nothing else
// needs what it needs.
var buildRegistry = sync.OnceValues(func() (string, error) {
	return goBuild("github.com/distribution/distribution/v3/cmd/registry", "distribution")
})

// goBuild builds a program of the module in the directory dir and returns its path.
func goBuild(pkg, dir string) (string, error) {
	out, err := os.MkdirTemp("", "bench")
	if err != nil {
		return "", err
	}
	program := filepath.Join(out, path.Base(pkg))
	cmd := exec.Command("go", "build", "-trimpath", "-o", program, pkg)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, msg)
	}
	return program, nil
}
