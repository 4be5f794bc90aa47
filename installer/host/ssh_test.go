package host_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/offk8s/offk8s/installer/host"
)

func config(s *server) host.SSHConfig {
	// User root: no sudo in front.
	return host.SSHConfig{Name: "cp-1", Address: "127.0.0.1", Port: s.Port, KeyFile: s.KeyFile}
}

func file(t *testing.T, lines ...string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(f, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// certified returns a host key certified by ca.
func certified(t *testing.T, ca, key ssh.Signer, principal string, from, to time.Time) ssh.Signer {
	t.Helper()
	cert := &ssh.Certificate{
		Key: key.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{principal},
		ValidAfter: uint64(from.Unix()), ValidBefore: uint64(to.Unix()),
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestT40HostKeys(t *testing.T) {
	ca, key := newKey(t), newKey(t)
	now := time.Now()
	plain := newServer(t, nil)
	cert := newServer(t, nil, certified(t, ca, key, "127.0.0.1", now.Add(-time.Hour), now.Add(time.Hour)))
	stale := newServer(t, nil, certified(t, ca, key, "127.0.0.1", now.Add(-2*time.Hour), now.Add(-time.Hour)))
	other := newServer(t, nil, certified(t, ca, key, "192.0.2.1", now.Add(-time.Hour), now.Add(time.Hour)))
	line := func(s *server, k ssh.PublicKey) string {
		return knownhosts.Line([]string{knownhosts.Normalize(s.Address())}, k)
	}
	hashed := knownhosts.HashHostname(knownhosts.Normalize(plain.Address())) + " " + string(ssh.MarshalAuthorizedKey(plain.HostKey))
	authority := func(s *server) []string {
		return []string{file(t, "@cert-authority "+knownhosts.Normalize(s.Address())+" "+string(ssh.MarshalAuthorizedKey(ca.PublicKey())))}
	}
	wrong := newKey(t).PublicKey()
	tests := []struct {
		name   string
		server *server
		change func(c *host.SSHConfig)
		want   error // nil: connects
	}{
		{name: "known", server: plain, change: func(c *host.SSHConfig) { c.KnownHosts = []string{file(t, line(plain, plain.HostKey))} }},
		{name: "known, hashed name", server: plain, change: func(c *host.SSHConfig) { c.KnownHosts = []string{file(t, hashed)} }},
		{name: "unknown", server: plain, want: host.ErrUnknownHost, change: func(c *host.SSHConfig) { c.KnownHosts = []string{file(t)} }},
		{name: "changed", server: plain, want: host.ErrChangedHost, change: func(c *host.SSHConfig) { c.KnownHosts = []string{file(t, line(plain, wrong))} }},
		{
			name: "changed, never asked about", server: plain, want: host.ErrChangedHost,
			change: func(c *host.SSHConfig) {
				c.KnownHosts = []string{file(t, line(plain, wrong))}
				c.Accept = func(string, string, string) bool { t.Error("asked"); return true }
			},
		},
		{
			name: "revoked", server: plain, want: host.ErrRevokedHost,
			change: func(c *host.SSHConfig) {
				c.KnownHosts = []string{file(t, line(plain, plain.HostKey), "@revoked * "+string(ssh.MarshalAuthorizedKey(plain.HostKey)))}
			},
		},
		{name: "pinned", server: plain, change: func(c *host.SSHConfig) { c.HostKey = ssh.FingerprintSHA256(plain.HostKey) }},
		{name: "pinned, other key", server: plain, want: host.ErrChangedHost, change: func(c *host.SSHConfig) { c.HostKey = ssh.FingerprintSHA256(wrong) }},
		{name: "pinned, inside a certificate", server: cert, change: func(c *host.SSHConfig) { c.HostKey = ssh.FingerprintSHA256(key.PublicKey()) }},
		{name: "certificate", server: cert, change: func(c *host.SSHConfig) { c.KnownHosts = authority(cert) }},
		{name: "certificate, expired", server: stale, want: errAny, change: func(c *host.SSHConfig) { c.KnownHosts = authority(stale) }},
		{name: "certificate of another host", server: other, want: errAny, change: func(c *host.SSHConfig) { c.KnownHosts = authority(other) }},
		{name: "declined", server: plain, want: host.ErrUnknownHost, change: func(c *host.SSHConfig) {
			c.KnownHosts = []string{file(t)}
			c.Accept = func(string, string, string) bool { return false }
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := config(tt.server)
			tt.change(&c)
			h, err := host.DialSSH(t.Context(), c)
			if err == nil {
				defer h.Close()
			}
			switch {
			case tt.want == nil && err != nil:
				t.Fatal(err)
			case tt.want == errAny && err == nil, tt.want != nil && tt.want != errAny && !errors.Is(err, tt.want):
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if errors.Is(err, host.ErrChangedHost) && len(c.KnownHosts) > 0 && !strings.Contains(err.Error(), c.KnownHosts[0]+":1") {
				t.Errorf("error does not name file and line: %v", err)
			}
		})
	}
}

var errAny = errors.New("any error")

func TestT40AcceptedKeyIsRemembered(t *testing.T) {
	s := newServer(t, nil)
	c := config(s)
	c.KnownHosts = []string{filepath.Join(t.TempDir(), "new", "known_hosts")}
	asked := ""
	c.Accept = func(_, _, fingerprint string) bool { asked = fingerprint; return true }
	h, err := host.DialSSH(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	_ = h.Close()
	if asked != ssh.FingerprintSHA256(s.HostKey) {
		t.Errorf("asked about %q", asked)
	}
	c.Accept = nil
	if h, err = host.DialSSH(t.Context(), c); err != nil {
		t.Fatalf("second time: %v", err)
	}
	_ = h.Close()
}

// TestT40SecondKeyIsNoChange: a server has several keys and known_hosts one of them.
func TestT40SecondKeyIsNoChange(t *testing.T) {
	ec, err := ssh.ParsePrivateKey([]byte(ecdsaKey))
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, nil, newKey(t), ec)
	c := config(s)
	c.KnownHosts = []string{file(t, knownhosts.Line([]string{knownhosts.Normalize(s.Address())}, ec.PublicKey()))}
	h, err := host.DialSSH(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	_ = h.Close()
}

func TestT40AlgorithmDowngrade(t *testing.T) {
	for name, change := range map[string]func(*ssh.ServerConfig){
		"key exchange": func(c *ssh.ServerConfig) { c.KeyExchanges = []string{ssh.InsecureKeyExchangeDH1SHA1} },
		"cipher":       func(c *ssh.ServerConfig) { c.Ciphers = []string{ssh.InsecureCipherAES128CBC} },
	} {
		s := newServer(t, change)
		c := config(s)
		c.HostKey = ssh.FingerprintSHA256(s.HostKey)
		if h, err := host.DialSSH(t.Context(), c); err == nil {
			_ = h.Close()
			t.Errorf("%s: connected with a broken algorithm", name)
		}
	}
}

func dial(t *testing.T) (*server, host.Host) {
	t.Helper()
	s := newServer(t, nil)
	c := config(s)
	c.HostKey = ssh.FingerprintSHA256(s.HostKey)
	h, err := host.DialSSH(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return s, h
}

func TestSSHRun(t *testing.T) {
	s, h := dial(t)
	var out, errOut bytes.Buffer
	argv := []string{"sh", "-c", "cat; echo err >&2; exit 7", "$(touch x)", "a'b\nc"}
	err := h.Run(t.Context(), argv, strings.NewReader("in"), &out, &errOut)
	exit := (*host.ExitError)(nil)
	if !errors.As(err, &exit) || exit.Code != 7 {
		t.Errorf("error %v, want code 7", err)
	}
	if out.String() != "in" || errOut.String() != "err\n" {
		t.Errorf("stdout %q, stderr %q", out.String(), errOut.String())
	}
	s.Cut()
	if err := h.Run(t.Context(), []string{"true"}, nil, &out, &errOut); err == nil {
		t.Error("no error after the connection was cut")
	}
}

func TestSSHConnectionLostWhileRunning(t *testing.T) {
	s, h := dial(t)
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pr.Close()
	go func() {
		b := make([]byte, 1)
		_, _ = pr.Read(b)
		s.Cut()
	}()
	err = h.Run(t.Context(), []string{"sh", "-c", "echo up; exec cat"}, block{}, pw, pw)
	if exit := (*host.ExitError)(nil); err == nil || errors.As(err, &exit) {
		t.Errorf("error %v, want a lost connection", err)
	}
}

// block is a stdin that never says anything.
type block struct{}

func (block) Read([]byte) (int, error) { select {} }

func TestRunCancelled(t *testing.T) {
	_, remote := dial(t)
	for _, h := range []host.Host{remote, root(t, host.NewLocal("here", nil))} {
		ctx, cancel := context.WithCancel(t.Context())
		pr, pw, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			b := make([]byte, 1)
			_, _ = pr.Read(b)
			cancel()
		}()
		start := time.Now()
		// cat ends in order when its stdin does.
		err = h.Run(ctx, []string{"sh", "-c", "echo up; cat; echo done >&2"}, block{}, pw, pw)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v, want context.Canceled", h.Name(), err)
		}
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("%s: took %s", h.Name(), took)
		}
		_ = pr.Close()
	}
}

func TestUpload(t *testing.T) {
	_, remote := dial(t)
	for _, h := range []host.Host{remote, root(t, host.NewLocal("here", nil))} {
		dir := t.TempDir()
		dest := filepath.Join(dir, "new", "it's $HOME")
		if err := h.Upload(t.Context(), strings.NewReader("content"), 7, dest, 0o755); err != nil {
			t.Fatalf("%s: %v", h.Name(), err)
		}
		b, err := os.ReadFile(dest)
		if err != nil || string(b) != "content" {
			t.Errorf("%s: %q %v", h.Name(), b, err)
		}
		st, err := os.Stat(dest)
		if err != nil || st.Mode().Perm() != 0o755 {
			t.Errorf("%s: mode %v %v", h.Name(), st, err)
		}
		if err := h.Upload(t.Context(), strings.NewReader("short"), 7, dest, 0o755); err == nil {
			t.Errorf("%s: short upload: no error", h.Name())
		}
		if b, _ := os.ReadFile(dest); string(b) != "content" {
			t.Errorf("%s: short upload replaced the file: %q", h.Name(), b)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "new", "*.offk8s-*")); len(left) > 0 {
			t.Errorf("%s: left %q", h.Name(), left)
		}
	}
}
