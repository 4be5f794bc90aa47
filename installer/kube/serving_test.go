package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// kubelet serves TLS with a certificate of ca once has is set.
func kubelet(t *testing.T) (port int, ca []byte, has *atomic.Bool) {
	t.Helper()
	ca, serve := authority(t)
	has = &atomic.Bool{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	conf := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if !has.Load() {
			return nil, errors.New("no serving certificate yet")
		}
		return serve, nil
	}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = tls.Server(c, conf).Handshake(); _ = c.Close() }()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, ca, has
}

// It is done when the kubelet serves a certificate of the cluster's authority, whatever
// became of the requests, and it approves nothing.
func TestServingCertificates(t *testing.T) {
	f, w := newCluster(t)
	f.on = func(args []string) {
		if args[0] != "get" {
			t.Errorf("kubectl %v", args)
		}
	}
	f.put(goodRequest().object(t))
	evil := goodRequest()
	evil.name, evil.dns = "csr-2", []string{"kubernetes.default.svc"}
	f.put(evil.object(t))
	port, ca, has := kubelet(t)
	w.Write(t, "/etc/kubernetes/pki/ca.crt", string(ca), 0o600)
	s := &ServingCertificates{
		Nodes: []NodeAddress{{Name: "n1", Address: "127.0.0.1"}}, CAFile: "/etc/kubernetes/pki/ca.crt", Port: port, Timeout: 1,
	}
	if res, err := s.Check(t.Context(), w.Env()); err != nil || res.State != step.Differs {
		t.Errorf("before: %+v, %v", res, err)
	}
	_, err := s.Apply(t.Context(), w.Env())
	for _, want := range []string{"kubelet of n1", "request csr-1 of n1 is right", "request csr-2 is refused", "kubernetes.default.svc"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	has.Store(true)
	if res, err := s.Apply(t.Context(), w.Env()); err != nil || res.State != step.Verified {
		t.Errorf("apply: %+v, %v", res, err)
	}
	if res, err := s.Check(t.Context(), w.Env()); err != nil || res.State != step.OK {
		t.Errorf("after: %+v, %v", res, err)
	}
	other, _ := authority(t)
	w.Write(t, "/etc/kubernetes/pki/ca.crt", string(other), 0o600)
	if res, _ := s.Check(t.Context(), w.Env()); res.State == step.OK {
		t.Error("a certificate of another authority is accepted")
	}
}

func authority(t *testing.T) (caPEM []byte, leaf *tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, Subject: pkix.Name{CommonName: "ca"},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
