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

// With --client-ca only clients with a certificate of that CA are answered. SIGHUP loads the
// file again, also for clients that resume a session; a broken file leaves the CA before it.
func TestClientCA(t *testing.T) {
	dir := t.TempDir()
	authority(t, dir)
	first, second := clientCertificate(t), clientCertificate(t)
	o := serveOptions{state: dir, clientCA: filepath.Join(dir, "clients.pem")}
	trust := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(o.clientCA, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pemOf := func(c tls.Certificate) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
	}
	trust(pemOf(first))
	c, err := o.tls(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := readPool(filepath.Join(dir, "mirror-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	client := func(cert ...tls.Certificate) *tls.Config {
		return &tls.Config{RootCAs: pool, Certificates: cert, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	}
	none, one, other := client(), client(first), client(second)
	expect := func(step string, config *tls.Config, good, resumed bool) {
		t.Helper()
		state, err := shake(t, c.config, config)
		if (err == nil) != good || state.DidResume != resumed {
			t.Errorf("%s: handshake %v, want success: %v; resumed: %v", step, err, good, state.DidResume)
		}
	}
	expect("no certificate", none, false, false)
	expect("a stranger's", other, false, false)
	expect("one of the CA", one, true, false)
	expect("one of the CA again", one, true, true)
	trust(pemOf(second))
	expect("before the reload", one, true, true)
	if err := c.clients(); err != nil {
		t.Fatal(err)
	}
	expect("one of the CA before it", one, false, false)
	expect("one of the new CA", other, true, false)
	trust([]byte("half"))
	if err := c.clients(); err == nil {
		t.Error("a broken file was loaded")
	}
	expect("after a broken file", other, true, true)
}

// shake makes a connection and sends a byte over it, so that the client gets its ticket. It
// returns the server's state of it.
func shake(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, err error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	shaken := make(chan error, 1)
	go func() {
		s, err := l.Accept()
		if err == nil {
			defer s.Close()
			if err = s.(*tls.Conn).Handshake(); err == nil {
				state = s.(*tls.Conn).ConnectionState()
				_, err = s.Write([]byte("x"))
			}
		}
		shaken <- err
	}()
	if c, err := tls.Dial("tcp", l.Addr().String(), client); err == nil {
		defer c.Close()
		_, _ = c.Read(make([]byte, 1)) // fails if the server refuses the client
	}
	err = <-shaken
	return state, err
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
