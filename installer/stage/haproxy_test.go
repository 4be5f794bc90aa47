package stage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/test/testenv"
)

// fakeAPI is an API server that only tells its name, and whether it is ready to those
// who may ask.
type fakeAPI struct {
	ready atomic.Bool
	asked atomic.Int64 // for readiness, with the right certificate
	*httptest.Server
}

func newFakeAPI(t *testing.T, name string, cert tls.Certificate, clients *x509.CertPool) *fakeAPI {
	t.Helper()
	f := &fakeAPI{}
	f.ready.Store(true)
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch certs := r.TLS.PeerCertificates; {
		case r.URL.Path != "/readyz":
			fmt.Fprint(w, name)
		case len(certs) == 0 || certs[0].Subject.CommonName != pki.Health:
			w.WriteHeader(http.StatusUnauthorized)
		case !f.ready.Load():
			w.WriteHeader(http.StatusInternalServerError)
		default:
			f.asked.Add(1)
		}
	}))
	f.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: clients, ClientAuth: tls.VerifyClientCertIfGiven}
	f.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

// issued issues the certificates of in and returns them by name, with a pool of
// their authority.
func issued(t *testing.T, in Input) (keyPair func(name string) tls.Certificate, pem func(ref string) string, ca *x509.CertPool) {
	t.Helper()
	s, err := pki.Open(pki.Options{Dir: t.TempDir(), Cluster: in.Cluster})
	if err != nil {
		t.Fatal(err)
	}
	pem = func(ref string) string {
		t.Helper()
		b, err := s.Resolve(ref)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	ca = x509.NewCertPool()
	ca.AppendCertsFromPEM([]byte(pem(pki.CARef(pki.Kubernetes))))
	return func(name string) tls.Certificate {
		t.Helper()
		pair, err := tls.X509KeyPair([]byte(pem(pki.CertRef(name))), []byte(pem(pki.KeyRef(name))))
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}, pem, ca
}

// startHAProxy runs haproxy with the configuration of lb-1 in front of the servers, and
// returns its address.
func startHAProxy(t *testing.T, in Input, pem func(string) string, servers map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	var listen []string
	var listeners []net.Listener
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners, listen = append(listeners, l), append(listen, l.Addr().String())
	}
	edits := []string{
		"bind :6443", "bind " + listen[0], "127.0.0.1:" + alivePort, listen[1],
		haproxyCA, dir + "/ca.crt", haproxyPEM, dir + "/health.pem",
	}
	for from, to := range servers {
		edits = append(edits, from, to)
	}
	for name, content := range map[string]string{
		"haproxy.cfg": strings.NewReplacer(edits...).Replace(balancerFile(t, in, "lb-1", haproxyCfg)),
		"ca.crt":      pem(pki.CARef(pki.Kubernetes)), "health.pem": pem(pki.PEMRef("lb-health-lb-1")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "haproxy", "-c", "-f", dir+"/haproxy.cfg").CombinedOutput(); err != nil || strings.Contains(string(out), "WARNING") {
		t.Fatalf("haproxy -c: %v\n%s", err, out)
	}
	cmd := exec.Command("haproxy", "-db", "-f", dir+"/haproxy.cfg")
	cmd.Stderr = t.Output()
	for _, l := range listeners {
		l.Close()
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return listen[0]
}

// A balancer connects only to API servers that answer its health checks, which need the
// client certificate, and ends the connections to one that is ready no more.
func TestHAProxyFollowsReadiness(t *testing.T) {
	testenv.NeedTool(t, "haproxy")
	testenv.NeedRoot(t) // it changes to its user
	in := sixHosts(t, "1.36")
	keyPair, pem, ca := issued(t, in)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	other := sixHosts(t, "1.36")
	stranger, _, _ := issued(t, other)
	apis := map[string]*fakeAPI{
		"cp-1": newFakeAPI(t, "cp-1", keyPair("apiserver-cp-1"), ca),
		"cp-2": newFakeAPI(t, "cp-2", keyPair("apiserver-cp-2"), ca),
		// Another authority signed it: it is ready for whoever asks, and must get nothing.
		"cp-3": newFakeAPI(t, "cp-3", stranger("apiserver-cp-3"), ca),
	}
	servers := map[string]string{}
	for _, h := range leaders(in) {
		servers[h.Address+":6443"] = apis[h.Name].Listener.Addr().String()
	}
	address := startHAProxy(t, in, pem, servers)

	// ask returns the name of the server that a new connection reaches, "" if none, and
	// the connection.
	ask := func() (string, *tls.Conn) {
		c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: ca, ServerName: apiName})
		if err != nil {
			return "", nil
		}
		fmt.Fprint(c, "GET /name HTTP/1.1\r\nHost: api\r\n\r\n")
		b := make([]byte, 4096)
		n, err := c.Read(b)
		_, name, found := strings.Cut(string(b[:n]), "\r\n\r\n")
		if err != nil || !found {
			c.Close()
			return "", nil
		}
		return name, c
	}
	// until asks until ten answers in a row fit, and returns the last connection to each.
	until := func(what string, fits func(string) bool) map[string]*tls.Conn {
		t.Helper()
		open := map[string]*tls.Conn{}
		for n := 0; n < 10; {
			if ctx.Err() != nil {
				t.Fatalf("%s: never", what)
			}
			name, c := ask()
			if n++; !fits(name) {
				n = 0
			}
			if c != nil {
				t.Cleanup(func() { c.Close() })
				open[name] = c
			}
		}
		return open
	}

	until("a server that is ready", func(name string) bool { return name != "" })
	for len(until("both", func(name string) bool { return name == "cp-1" || name == "cp-2" })) < 2 {
		if ctx.Err() != nil {
			t.Fatal("one of two servers gets all connections")
		}
	}
	open := until("both again", func(name string) bool { return name == "cp-1" || name == "cp-2" })
	if apis["cp-1"].asked.Load() == 0 || apis["cp-3"].asked.Load() != 0 {
		t.Errorf("cp-1 was asked %d times, a server of a stranger %d times", apis["cp-1"].asked.Load(), apis["cp-3"].asked.Load())
	}
	apis["cp-1"].ready.Store(false)
	until("cp-2 alone", func(name string) bool { return name == "cp-2" })
	if c := open["cp-1"]; c != nil {
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("a connection to a server that is not ready stays: %v", err)
		}
	}
	apis["cp-1"].ready.Store(true)
	apis["cp-2"].ready.Store(false)
	until("cp-1 alone", func(name string) bool { return name == "cp-1" })
}
