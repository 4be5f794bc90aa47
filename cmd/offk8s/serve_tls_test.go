package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/offk8s/offk8s/installer/pki"
)

// authority makes a CA with a certificate in dir, which serves and which logs in.
func authority(t *testing.T, dir string) pki.MirrorTLS {
	t.Helper()
	m, err := pki.MirrorCA(dir, []string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A certificate of the user is loaded again; if that fails, the one before stays.
func TestCertificateIsLoadedAgain(t *testing.T) {
	dir, next := t.TempDir(), t.TempDir()
	first, second := authority(t, dir), authority(t, next)
	o := serveOptions{certFile: filepath.Join(dir, "mirror.crt"), keyFile: filepath.Join(dir, "mirror.key")}
	c, err := o.tls(&net.TCPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(step string, want pki.MirrorTLS) {
		t.Helper()
		got, err := c.config.GetCertificate(nil)
		if err != nil || !bytes.Equal(got.Certificate[0], want.Certificate.Certificate[0]) {
			t.Errorf("%s: another certificate, %v", step, err)
		}
	}
	expect("at the start", first)
	for _, name := range []string{"mirror.crt", "mirror.key"} {
		if err := os.Rename(filepath.Join(next, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	expect("before the reload", first)
	if err := c.reload(); err != nil {
		t.Fatal(err)
	}
	expect("after the reload", second)
	if err := os.WriteFile(o.certFile, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.reload(); err == nil {
		t.Error("a broken file was loaded")
	}
	expect("after a broken file", second)
}

// clientCertificate makes a certificate for a client that signs itself.
func clientCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// With --client-ca only clients with a certificate of that CA are answered.
func TestClientCA(t *testing.T) {
	dir := t.TempDir()
	authority(t, dir)
	known := clientCertificate(t)
	o := serveOptions{state: dir, clientCA: filepath.Join(dir, "clients.pem")}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: known.Certificate[0]})
	if err := os.WriteFile(o.clientCA, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := o.tls(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := readPool(filepath.Join(dir, "mirror-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		cert []tls.Certificate
		good bool
	}{
		{"no certificate", nil, false},
		{"a stranger's", []tls.Certificate{clientCertificate(t)}, false},
		{"one of the CA", []tls.Certificate{known}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := tls.Listen("tcp", "127.0.0.1:0", c.config)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			shaken := make(chan error, 1)
			go func() {
				s, err := l.Accept()
				if err == nil {
					err = s.(*tls.Conn).Handshake()
					_ = s.Close()
				}
				shaken <- err
			}()
			client, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: pool, Certificates: tt.cert})
			if err == nil {
				defer client.Close()
			}
			if err := <-shaken; (err == nil) != tt.good {
				t.Errorf("handshake: %v, want success: %v", err, tt.good)
			}
		})
	}
}

// SIGHUP reads the file of --htpasswd again, and a broken one leaves the users before it.
func TestPasswordsAreReadAgain(t *testing.T) {
	o := serveOptions{htpasswd: filepath.Join(t.TempDir(), "users")}
	write := func(text string) {
		if err := os.WriteFile(o.htpasswd, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	write("one:" + string(hash))
	passwords, reread, err := o.passwords()
	if err != nil {
		t.Fatal(err)
	}
	allowed := func(name string) bool { return passwords.Allow(t.Context(), name, "secret") }
	if !allowed("one") || allowed("two") {
		t.Error("the users of the file are not those that are allowed")
	}
	write("two:plain")
	if err := reread(); err == nil || !allowed("one") {
		t.Errorf("a broken file: %v, or the users before it are gone", err)
	}
	write("two:" + string(hash))
	if err := reread(); err != nil || allowed("one") || !allowed("two") {
		t.Errorf("a new file: %v, or its users do not count", err)
	}
}
