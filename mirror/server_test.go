package mirror

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
)

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// start runs s until the test ends or stop is called. stop returns the result of
// Run.
func start(t testing.TB, s *Server) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return stop
}

// testCertificate makes a CA and a certificate of it for the loopback addresses.
func testCertificate(t testing.TB) (caPEM []byte, pool *x509.CertPool, cert tls.Certificate) {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	sign := func(c, parent *x509.Certificate, pub *ecdsa.PrivateKey, by *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &pub.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	from, to := time.Now().Add(-time.Hour), time.Now().Add(48*time.Hour)
	caKey, leafKey := key(), key()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mirror CA"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "mirror"}, NotBefore: from, NotAfter: to,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, DNSNames: []string{"localhost"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER := sign(ca, ca, caKey, caKey)
	caPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(caPEM)
	return caPEM, pool, tls.Certificate{Certificate: [][]byte{sign(leaf, ca, leafKey, caKey)}, PrivateKey: leafKey}
}

func TestServerTLSAndMetrics(t *testing.T) {
	s := newSample(t)
	ca, pool, cert := testCertificate(t)
	main, admin := listen(t), listen(t)
	server := &Server{
		Mirror: mirrorOf(t, Options{CA: ca}, s.Bundle), Listeners: []net.Listener{main},
		TLS:   &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10}, // raised by the server
		Admin: admin, VerifyFirst: true,
	}
	start(t, server)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	for path, want := range map[string]string{plugins: "cni plugins", "/ca.crt": string(ca)} {
		r, err := client.Get("https://" + main.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		if got := body(t, r); got != want || r.ProtoMajor != 1 {
			t.Errorf("%s: %q over HTTP/%d", path, got, r.ProtoMajor)
		}
	}
	if _, err := tls.Dial("tcp", main.Addr().String(), &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	r, err := http.Get("http://" + admin.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics := body(t, r)
	for _, want := range []string{
		`offk8s_requests_total{kind="files",code="200"} 1`, `offk8s_response_bytes_total{kind="files"} 11`,
		`offk8s_blobs{state="bad"} 0`, `offk8s_blobs{state="unchecked"} 0`, "offk8s_scrub_last_pass_timestamp_seconds ",
		`offk8s_bundle_sequence{name="kubernetes-1.36",root="sha256:`, "offk8s_bundle_created_timestamp_seconds{", "offk8s_connections ",
		"offk8s_certificate_expiry_timestamp_seconds ",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %q:\n%s", want, metrics)
		}
	}
	for _, path := range []string{"/metrics", "/debug/pprof/"} {
		r, err := client.Get("https://" + main.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		if _ = body(t, r); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s on the public listener: status %d", path, r.StatusCode)
		}
	}
}

func TestServerRefuses(t *testing.T) {
	s := newSample(t)
	m := mirrorOf(t, Options{}, s.Bundle)
	everywhere, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Server{Mirror: m, Listeners: []net.Listener{listen(t)}, Admin: everywhere}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("metrics on all interfaces: %v", err)
	}
	if err := (&Server{Mirror: m}).Run(t.Context()); err == nil {
		t.Error("a server without a listener runs")
	}
	damage(t, s.Bundle, digest.FromString("cni plugins"))
	l := listen(t)
	if err := (&Server{Mirror: m, Listeners: []net.Listener{l}, VerifyFirst: true}).Run(t.Context()); !errors.Is(err, bundle.ErrVerify) {
		t.Errorf("error %v, want ErrVerify", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener was left open: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	s := newSample(t, func(b *bundletest.Builder) { b.Lock.Expires = b.Lock.Created.AddDate(0, 6, 0) })
	created := s.Lock().Created
	_, _, cert := testCertificate(t) // ends in two days
	tests := []struct {
		name string
		tls  *tls.Config
		now  time.Time
		want string
	}{
		{"nothing", nil, created.AddDate(0, 1, 0), ""},
		{"expired bundle", nil, created.AddDate(0, 7, 0), "has expired"},
		{"wrong clock", nil, created.AddDate(0, 0, -2), "clock is wrong"},
		{"certificate", tlsConfig(cert), time.Now(), "certificate expires soon"},
	}
	for _, tt := range tests {
		var log bytes.Buffer
		m := mirrorOf(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, s.Bundle)
		(&Server{Mirror: m, TLS: tt.tls}).warn(tt.now)
		if got := log.String(); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: log %q, want %q", tt.name, got, tt.want)
		}
	}
}

// slowBundle has a file too large for socket buffers.
func slowBundle(t *testing.T) (opened *bundle.Bundle, content []byte) {
	t.Helper()
	b := bundletest.New(t)
	content = bytes.Repeat([]byte("0123456789abcdef"), 2<<20)
	b.AddFile(t, "large", "large", content, false)
	return openBundle(t, b), content
}

func TestShutdownLetsTransfersFinish(t *testing.T) {
	f, content := slowBundle(t)
	l := listen(t)
	stop := start(t, &Server{Mirror: mirrorOf(t, Options{}, f), Listeners: []net.Listener{l}})
	r, err := http.Get("http://" + l.Addr().String() + "/files/large")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	// The listener is closed before the transfer has ended.
	for {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break
		}
		_ = c.Close()
	}
	got, err := io.ReadAll(r.Body)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	f, _ := slowBundle(t)
	_, pool, cert := testCertificate(t)
	for scheme, config := range map[string]*tls.Config{"http": nil, "https": tlsConfig(cert)} {
		l := listen(t)
		stop := start(t, &Server{Mirror: mirrorOf(t, Options{}, f), Listeners: []net.Listener{l}, TLS: config, ShutdownTimeout: 50 * time.Millisecond})
		url := scheme + "://" + l.Addr().String() + "/files/large"
		var slow []io.ReadCloser // nothing is read from them
		for range 3 {
			r, err := trusting(pool).Get(url)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			slow = append(slow, r.Body)
		}
		waiting(t, scheme, len(slow))
		began := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		// An alert to a client that does not read would take 5 seconds.
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("%s: the stop took %v", scheme, took)
		}
		for _, r := range slow {
			if _, err := io.ReadAll(r); err == nil {
				t.Errorf("%s: a cut transfer looks complete", scheme)
			}
		}
	}
}

// trusting returns a client with a connection of its own that trusts the CA of pool.
func trusting(pool *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
}

// waits are where transfers of a scheme wait for their clients and hold no buffer. Over
// HTTP it is between two calls of sendfile.
var waits = map[string]string{"http": "files.(*conn).wait(", "https": "files.(*conn).space("}

// waiting returns when n transfers of a scheme wait for their clients without a buffer.
func waiting(t *testing.T, scheme string, n int) {
	t.Helper()
	var stacks string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); runtime.Gosched() {
		b := make([]byte, 1<<20)
		stacks = string(b[:runtime.Stack(b, true)])
		found := 0
		for stack := range strings.SplitSeq(stacks, "\n\n") {
			if strings.Contains(stack, "[IO wait") && strings.Contains(stack, waits[scheme]) {
				found++
			}
		}
		if found == n {
			return
		}
	}
	t.Fatalf("not %d transfers wait for a slow client without a buffer:\n%s", n, stacks)
}

// A slow client costs a connection and no buffer, and gets all bytes in the end.
func TestT32SlowClientHoldsNoBuffer(t *testing.T) {
	f, content := slowBundle(t)
	_, pool, cert := testCertificate(t)
	for scheme, config := range map[string]*tls.Config{"http": nil, "https": tlsConfig(cert)} {
		l := listen(t)
		start(t, &Server{Mirror: mirrorOf(t, Options{}, f), Listeners: []net.Listener{l}, TLS: config})
		r, err := trusting(pool).Get(scheme + "://" + l.Addr().String() + "/files/large")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		waiting(t, scheme, 1)
		if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes of %d, %v", scheme, len(got), len(content), err)
		}
	}
}

func tlsConfig(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
}
