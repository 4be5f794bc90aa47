package step_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// tlsServer serves TLS on 127.0.0.1 with a new certificate of ca, and returns its address.
func tlsServer(t *testing.T, ca *x509.Certificate, caKey *ecdsa.PrivateKey) string {
	t.Helper()
	_, der, key := newCert(t, ca, caKey)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c); c.Close() }()
		}
	}()
	return l.Addr().String()
}

// newCert returns a certificate for 127.0.0.1, signed by ca, or an authority if ca is nil.
func newCert(t *testing.T, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*x509.Certificate, []byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: ca == nil,
	}
	if ca == nil {
		ca, caKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, ca, &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, der, key
}

// balancer leads connections to the targets in turn, and returns its address.
func balancer(t *testing.T, targets ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", targets[n%len(targets)])
			if err != nil {
				c.Close()
				continue
			}
			go func() { _, _ = io.Copy(to, c); to.Close() }()
			go func() { _, _ = io.Copy(c, to); c.Close() }()
		}
	}()
	return l.Addr().String()
}

func TestEndpoint(t *testing.T) {
	ca, caDER, caKey := newCert(t, nil, nil)
	other, _, otherKey := newCert(t, nil, nil)
	one, two, stranger := tlsServer(t, ca, caKey), tlsServer(t, ca, caKey), tlsServer(t, other, otherKey)
	third := tlsServer(t, ca, caKey)
	servers := []string{one, two}
	for _, tt := range []struct {
		name string
		step step.Endpoint
		want string // in the reason; "" if it is verified
	}{
		{"all", step.Endpoint{Address: balancer(t, one, two), Servers: servers}, ""},
		{"no balancer between", step.Endpoint{Address: one, Servers: []string{one}}, ""},
		{"one is not behind it", step.Endpoint{Address: balancer(t, one), Servers: servers}, "reaches " + two},
		{"any is enough", step.Endpoint{Address: balancer(t, one), Servers: servers, Any: true}, ""},
		{"another server", step.Endpoint{Address: balancer(t, third), Servers: servers}, "none of " + one},
		{"another authority", step.Endpoint{Address: balancer(t, stranger), Servers: servers}, "unknown authority"},
		{"another name", step.Endpoint{Address: strings.Replace(balancer(t, one, two), "127.0.0.1", "localhost", 1), Servers: servers}, "certificate is not valid for any names"},
		{"a server is down", step.Endpoint{Address: balancer(t, one, two), Servers: []string{one, "127.0.0.1:1"}}, "behind the balancer: connect to 127.0.0.1:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := steptest.New(t)
			w.Write(t, "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})), 0o600)
			tt.step.CAFile = "/ca.crt"
			res, err := tt.step.Check(t.Context(), w.Env())
			if err != nil {
				t.Fatal(err)
			}
			if ok := res.State == step.Verified; ok != (tt.want == "") || !strings.Contains(res.Reason, tt.want) {
				t.Errorf("%s %q, want %q", res.State, res.Reason, tt.want)
			}
			if tt.want != "" {
				tt.step.Timeout = step.Duration(time.Nanosecond)
				if _, err := tt.step.Apply(t.Context(), w.Env()); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := step.Endpoint{Address: one, Servers: []string{one}, CAFile: "/ca.crt"}
	if _, err := s.Check(ctx, steptest.New(t).Env()); err == nil {
		t.Error("no error after the context has ended")
	}
}
