package apiproxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority signs the certificates of a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	pair := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "kubernetes"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	a.cert, a.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

func (a *authority) sign(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.NotAfter = big.NewInt(1), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// kubeconfig writes a credential in the form of installer/pki.
func (a *authority) kubeconfig() string {
	a.t.Helper()
	pair := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "system:kube-proxy"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		a.t.Fatal(err)
	}
	text := func(kind string, b []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	file := filepath.Join(a.t.TempDir(), "kube-proxy.conf")
	write(a.t, file, fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: kubernetes
  cluster:
    server: "https://127.0.0.1:6444"
    certificate-authority-data: %s
users:
- name: "system:kube-proxy"
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: default
  context:
    cluster: kubernetes
    user: "system:kube-proxy"
current-context: default
`, text("CERTIFICATE", a.cert.Raw), text("CERTIFICATE", pair.Leaf.Raw), text("PRIVATE KEY", der)))
	return file
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// api is an API server that requires a client certificate for everything but /hello.
type api struct {
	*httptest.Server
	addr string
	mu   sync.Mutex
	// ready, hang and endpoints are what it answers.
	ready, hang bool
	endpoints   []string
	open, most  int // connections that said hello
}

func newAPI(a *authority) *api {
	f := &api{ready: true}
	f.Server = httptest.NewUnstartedServer(f)
	f.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	f.TLS = &tls.Config{
		Certificates: []tls.Certificate{a.sign(&x509.Certificate{
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})},
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: a.pool(),
	}
	f.StartTLS()
	a.t.Cleanup(f.Close)
	f.addr = f.Listener.Addr().String()
	return f
}

func (f *api) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	ready, hang, endpoints := f.ready, f.hang, f.endpoints
	f.mu.Unlock()
	if r.URL.Path == "/hello" {
		f.hello(w, r)
		return
	}
	if len(r.TLS.PeerCertificates) == 0 || r.TLS.PeerCertificates[0].Subject.CommonName != "system:kube-proxy" {
		http.Error(w, "no certificate", http.StatusUnauthorized)
		return
	}
	switch {
	case hang:
		<-r.Context().Done()
	case r.URL.Path == "/readyz" && ready:
		fmt.Fprint(w, "ok")
	case r.URL.Path == "/readyz":
		http.Error(w, "etcd failed", http.StatusInternalServerError)
	case r.URL.String() == endpointsPath && endpoints != nil:
		subsets := []any{}
		for _, e := range endpoints {
			host, port, _ := net.SplitHostPort(e)
			subsets = append(subsets, map[string]any{
				"addresses": []any{map[string]any{"ip": host}}, "ports": []any{map[string]any{"name": "https", "port": json.Number(port)}},
			})
		}
		json.NewEncoder(w).Encode(map[string]any{"kind": "EndpointsList", "items": []any{map[string]any{"subsets": subsets}}})
	default:
		http.Error(w, "forbidden", http.StatusForbidden)
	}
}

// hello answers with its address, and then with whatever the client says.
func (f *api) hello(w http.ResponseWriter, _ *http.Request) {
	c, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	f.set(func() { f.open++; f.most = max(f.most, f.open) })
	defer f.set(func() { f.open-- })
	fmt.Fprintf(c, "%-24s", f.addr)
	io.Copy(c, rw)
}

// events is a log that tests wait for.
type events struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
}

func (e *events) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer func() {
		select {
		case e.wrote <- struct{}{}:
		default:
		}
	}()
	return e.text.Write(b)
}

// wait returns when the log has all these texts since the last call.
func (e *events) wait(t *testing.T, texts ...string) {
	t.Helper()
	for {
		e.mu.Lock()
		log := e.text.String()
		missing := slices.DeleteFunc(slices.Clone(texts), func(s string) bool { return strings.Contains(log, s) })
		if len(missing) == 0 {
			e.text.Reset()
		}
		e.mu.Unlock()
		if len(missing) == 0 {
			return
		}
		select {
		case <-e.wrote:
		case <-time.After(time.Minute):
			t.Fatalf("log lacks %q:\n%s", missing, log)
		}
	}
}

func (e *events) ready(t *testing.T, servers ...*api) {
	t.Helper()
	var texts []string
	for _, s := range servers {
		texts = append(texts, `msg="server ready" server=`+s.addr)
	}
	e.wait(t, texts...)
}

// world is a proxy in front of API servers.
type world struct {
	*Proxy
	t    *testing.T
	ca   *authority
	log  *events
	addr string
	stop func()
}

// start runs a proxy for the servers; change, if set, changes it before.
func start(t *testing.T, ca *authority, config Config, change func(*Proxy)) *world {
	t.Helper()
	w := &world{t: t, ca: ca, log: &events{wrote: make(chan struct{}, 1)}}
	config.Listen = "127.0.0.1:6444"
	config.Kubeconfig = ca.kubeconfig()
	if config.Kept == "" {
		config.Kept = filepath.Join(t.TempDir(), "servers.json")
	}
	var err error
	if w.Proxy, err = New(config, slog.New(slog.NewTextHandler(w.log, nil))); err != nil {
		t.Fatal(err)
	}
	w.timing.check, w.timing.follow, w.timing.retry = time.Millisecond, time.Millisecond, time.Millisecond
	w.timing.answer, w.timing.dial = 10*time.Second, 10*time.Second
	if change != nil {
		change(w.Proxy)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.serve(ctx, l) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("end: %v", err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

// dial says hello through the proxy and returns the address of the server that answers.
func (w *world) dial() (*tls.Conn, string) {
	w.t.Helper()
	c, err := tls.Dial("tcp", w.addr, &tls.Config{RootCAs: w.ca.pool(), MinVersion: tls.VersionTLS12})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c, w.hello(c)
}

func (w *world) hello(c *tls.Conn) string {
	w.t.Helper()
	fmt.Fprint(c, "GET /hello HTTP/1.1\r\nHost: api\r\n\r\n")
	b := make([]byte, 24)
	if _, err := io.ReadFull(c, b); err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// alive reports whether a connection still carries bytes both ways.
func alive(c *tls.Conn) bool {
	b := make([]byte, 4)
	_, err := c.Write([]byte("ping"))
	if err == nil {
		_, err = io.ReadFull(c, b)
	}
	return err == nil && string(b) == "ping"
}

// closed waits until the proxy closes a connection.
func closed(t *testing.T, c *tls.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	_, err := c.Read(make([]byte, 1))
	if e, ok := errors.AsType[net.Error](err); err == nil || ok && e.Timeout() {
		t.Fatalf("the connection is not closed: %v", err)
	}
}

func addrs(servers ...*api) []string {
	var out []string
	for _, s := range servers {
		out = append(out, s.addr)
	}
	slices.Sort(out)
	return out
}

// Connections go to the server with the fewest, and to the others when it is unready. The
// connections to it are closed, so that clients leave it.
func TestUnready(t *testing.T) {
	ca := newAuthority(t)
	a, b := newAPI(ca), newAPI(ca)
	w := start(t, ca, Config{Servers: addrs(a, b)}, nil)
	w.log.ready(t, a, b)
	byServer := map[string]*tls.Conn{}
	for range 2 {
		c, name := w.dial()
		byServer[name] = c
	}
	if len(byServer) != 2 {
		t.Fatalf("both connections go to %v", byServer)
	}
	a.set(func() { a.ready = false })
	w.log.wait(t, `msg="server unready" server=`+a.addr)
	closed(t, byServer[a.addr])
	if !alive(byServer[b.addr]) {
		t.Error("a connection to the ready server is closed")
	}
	for range 3 {
		if _, name := w.dial(); name != b.addr {
			t.Errorf("a connection goes to %s, which is unready", name)
		}
	}
	a.set(func() { a.ready = true })
	w.log.ready(t, a)
	if _, name := w.dial(); name != a.addr {
		t.Error("a server that is ready again gets no connection")
	}
}

// A server that accepts connections and does not answer is unready too.
func TestHangs(t *testing.T) {
	ca := newAuthority(t)
	a, b := newAPI(ca), newAPI(ca)
	w := start(t, ca, Config{Servers: addrs(a, b)}, func(p *Proxy) { p.timing.answer = 500 * time.Millisecond })
	w.log.ready(t, a, b)
	a.set(func() { a.hang = true })
	w.log.wait(t, `msg="server unready" server=`+a.addr)
	if _, name := w.dial(); name != b.addr {
		t.Error("a connection goes to the server that hangs")
	}
}

// While no server is ready nothing is closed, and connections are tried with all.
func TestNoneReady(t *testing.T) {
	ca := newAuthority(t)
	gone, a := newAPI(ca), newAPI(ca)
	gone.Close()
	a.ready = false
	w := start(t, ca, Config{Servers: []string{gone.addr, a.addr}}, nil)
	w.log.wait(t, `msg="server unready" server=`+gone.addr, `msg="server unready" server=`+a.addr)
	c, name := w.dial()
	if name != a.addr {
		t.Fatalf("connected with %s", name)
	}
	a.set(func() { a.ready = true })
	w.log.ready(t, a)
	a.set(func() { a.ready = false })
	w.log.wait(t, `msg="server unready" server=`+a.addr)
	if !alive(c) {
		t.Error("the connection is closed although no other server is ready")
	}
}

// Connections to servers that the API adds need no new file, and those to a server that it
// removes are closed. After a restart the kept list serves if no configured server is left.
func TestFollows(t *testing.T) {
	ca := newAuthority(t)
	a, b, c := newAPI(ca), newAPI(ca), newAPI(ca)
	config := Config{Servers: addrs(a), Kept: filepath.Join(t.TempDir(), "kept.json")}
	w := start(t, ca, config, nil)
	w.log.ready(t, a)
	for _, s := range []*api{a, b, c} {
		s.set(func() { s.endpoints = addrs(a, b, c) })
	}
	w.log.ready(t, b, c)
	conns := map[string]*tls.Conn{}
	for range 3 {
		conn, name := w.dial()
		conns[name] = conn
	}
	if len(conns) != 3 {
		t.Fatalf("three connections go to %d servers", len(conns))
	}
	for _, s := range []*api{a, b, c} {
		s.set(func() { s.endpoints = addrs(b) })
	}
	w.log.wait(t, `msg="server removed" server=`+c.addr)
	closed(t, conns[c.addr])
	if !alive(conns[a.addr]) || !alive(conns[b.addr]) {
		t.Error("connections to servers that stay are closed")
	}
	w.stop()
	a.Close()
	w = start(t, ca, config, nil)
	w.log.ready(t, b)
	if _, name := w.dial(); name != b.addr {
		t.Errorf("after the restart: %s", name)
	}
}

// A damaged list of kept servers, or one of names, does not keep the proxy from starting.
func TestDamagedKept(t *testing.T) {
	ca := newAuthority(t)
	a := newAPI(ca)
	for _, text := range []string{"", "{", `{"servers":["evil.example.com:6443"]}`, `{"servers":["10.0.0.1"]}`} {
		file := filepath.Join(t.TempDir(), "kept.json")
		write(t, file, text)
		w := start(t, ca, Config{Servers: addrs(a), Kept: file}, nil)
		w.log.wait(t, "the kept servers are not used", `msg="server ready" server=`+a.addr)
		w.stop()
	}
}

// Servers of another authority get neither a ready state nor the credential.
func TestOtherAuthority(t *testing.T) {
	ca := newAuthority(t)
	a, evil := newAPI(ca), newAPI(newAuthority(t))
	evil.TLS.ClientCAs = ca.pool() // it would take the certificate and be ready
	w := start(t, ca, Config{Servers: addrs(a, evil)}, nil)
	w.log.wait(t, `msg="server unready" server=`+evil.addr, `msg="server ready" server=`+a.addr)
	for range 3 {
		if _, name := w.dial(); name != a.addr {
			t.Errorf("a connection goes to %s", name)
		}
	}
}

// No more connections than the limit are open at the same time; others wait.
func TestLimit(t *testing.T) {
	ca := newAuthority(t)
	a := newAPI(ca)
	w := start(t, ca, Config{Servers: addrs(a)}, func(p *Proxy) { p.slots = make(chan struct{}, 2) })
	w.log.ready(t, a)
	var clients sync.WaitGroup
	for range 10 {
		clients.Go(func() {
			c, err := tls.Dial("tcp", w.addr, &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS12})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			fmt.Fprint(c, "GET /hello HTTP/1.1\r\nHost: api\r\n\r\n")
			if _, err := io.ReadFull(c, make([]byte, 24)); err != nil || !alive(c) {
				t.Errorf("a connection fails: %v", err)
			}
		})
	}
	clients.Wait()
	w.stop() // all connections have ended
	a.set(func() {
		if a.most > 2 {
			t.Errorf("%d connections at the same time, want at most 2", a.most)
		}
	})
}

// halfClose sends text through the proxy and closes that direction. It returns what the
// client gets from a server that answers with reply, which then closes or not.
func halfClose(t *testing.T, linger time.Duration, reply string, closes bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const text = "not TLS, which the proxy does not mind"
	done := make(chan bool)
	defer close(done)
	go func() {
		for {
			s, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer s.Close()
				if got, _ := io.ReadAll(s); string(got) != text {
					return // a check
				}
				io.WriteString(s, reply)
				if !closes {
					<-done
				}
			}()
		}
	}()
	w := start(t, newAuthority(t), Config{Servers: []string{l.Addr().String()}}, func(p *Proxy) { p.timing.linger = linger })
	client, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	io.WriteString(client, text)
	client.(*net.TCPConn).CloseWrite()
	client.SetReadDeadline(time.Now().Add(time.Minute))
	got, err := io.ReadAll(client)
	if err != nil {
		t.Errorf("got %q, %v; want the end", got, err)
	}
	return string(got)
}

// When one side closes its direction, the other one learns it and can send the rest. If it
// never closes, the proxy does.
func TestHalfClose(t *testing.T) {
	if got := halfClose(t, time.Hour, "the rest", true); got != "the rest" {
		t.Errorf("got %q", got)
	}
	halfClose(t, 10*time.Millisecond, "", false)
}

// systemd learns that the service listens.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	ca := newAuthority(t)
	start(t, ca, Config{Servers: []string{"127.0.0.1:1"}}, nil)
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("got %q, %v", b[:n], err)
	}
}

// Only loopback addresses are listened on, and only addresses are dialled.
func TestBadConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "apiproxy.json")
	for name, text := range map[string]string{
		"all interfaces": `{"listen":"0.0.0.0:6444","servers":["10.0.0.1:6443"]}`,
		"no port":        `{"listen":"127.0.0.1","servers":["10.0.0.1:6443"]}`,
		"no servers":     `{"listen":"127.0.0.1:6444","servers":[]}`,
		"name":           `{"listen":"127.0.0.1:6444","servers":["api.example.com:6443"]}`,
		"unknown field":  `{"listen":"127.0.0.1:6444","servers":["10.0.0.1:6443"],"token":"x"}`,
	} {
		write(t, file, text)
		if _, err := Load(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
	}
	write(t, file, `{"listen":"127.0.0.1:6444","kubeconfig":"/a","kept":"/b","servers":["10.0.0.1:6443"]}`)
	if _, err := Load(file); err != nil {
		t.Error(err)
	}
}

// An answer without addresses does not empty the list of servers.
func TestParseEndpoints(t *testing.T) {
	for _, text := range []string{
		`{}`, `{"items":[]}`, `{"items":[{"subsets":[{"addresses":[],"ports":[{"port":6443}]}]}]}`, `not JSON`,
		`{"items":[{"subsets":[{"addresses":[{"ip":"evil.example.com"}],"ports":[{"port":6443}]}]}]}`,
	} {
		if got, err := parseEndpoints([]byte(text)); err == nil {
			t.Errorf("%s: %v", text, got)
		}
	}
	got, err := parseEndpoints([]byte(`{"kind":"EndpointsList","items":[{"metadata":{"name":"kubernetes"},"subsets":[
		{"addresses":[{"ip":"10.0.0.2"},{"ip":"10.0.0.1"}],"ports":[{"name":"https","port":6443,"protocol":"TCP"}]}]}]}`))
	if want := []string{"10.0.0.1:6443", "10.0.0.2:6443"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}
