package host_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/offk8s/offk8s/installer/host"
)

// lockedKey writes a key with the passphrase "geheim".
func lockedKey(t *testing.T, file string) (ssh.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte("geheim"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s.PublicKey(), key
}

// sshAgent runs an agent with keys and returns its socket.
func sshAgent(t *testing.T, keys ...agent.AddedKey) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		if err := ring.Add(k); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, c) }()
		}
	}()
	return socket
}

// allow makes a server accept one key, or certificates of ca for the user root.
func allow(t *testing.T, key, ca ssh.PublicKey) *server {
	t.Helper()
	return newServer(t, func(c *ssh.ServerConfig) {
		plain := func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			if key == nil || string(k.Marshal()) != string(key.Marshal()) {
				return nil, errors.New("unknown key")
			}
			return nil, nil
		}
		c.PublicKeyCallback = plain
		if ca != nil {
			check := ssh.CertChecker{IsUserAuthority: func(k ssh.PublicKey) bool { return string(k.Marshal()) == string(ca.Marshal()) }}
			c.PublicKeyCallback = func(m ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) { return check.Authenticate(m, k) }
		}
	})
}

func login(t *testing.T, s *server, change func(*host.SSHConfig)) error {
	t.Helper()
	c := host.SSHConfig{Name: "cp-1", Address: "127.0.0.1", Port: s.Port, HostKey: ssh.FingerprintSHA256(s.HostKey), Home: t.TempDir()}
	change(&c)
	h, err := host.DialSSH(t.Context(), c)
	if err == nil {
		_ = h.Close()
	}
	return err
}

// A key with a passphrase is taken from ssh-agent, or opened with the passphrase; if
// there is neither, the error names it, so that it can be asked for.
func TestLockedKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "id")
	public, private := lockedKey(t, file)
	s := allow(t, public, nil)
	other := filepath.Join(t.TempDir(), "other")
	otherPublic := writeKey(t, other)
	otherRaw, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	otherKey, err := ssh.ParseRawPrivateKey(otherRaw)
	if err != nil {
		t.Fatal(err)
	}
	has, hasNot := sshAgent(t, agent.AddedKey{PrivateKey: &private}), sshAgent(t, agent.AddedKey{PrivateKey: otherKey})
	for name, tt := range map[string]struct {
		change func(*host.SSHConfig)
		locked bool
	}{
		"agent has it":      {func(c *host.SSHConfig) { c.KeyFile, c.AgentSocket = file, has }, false},
		"agent has another": {func(c *host.SSHConfig) { c.KeyFile, c.AgentSocket = file, hasNot }, true},
		"no agent":          {func(c *host.SSHConfig) { c.KeyFile = file }, true},
		"passphrase":        {func(c *host.SSHConfig) { c.KeyFile, c.Passphrases = file, map[string][]byte{file: []byte("geheim")} }, false},
		"a default key":     {func(c *host.SSHConfig) { copyKey(t, file, c.Home, "id_ed25519") }, true},
		"a default key beside a key of the agent that is refused": {func(c *host.SSHConfig) {
			copyKey(t, file, c.Home, "id_ed25519")
			c.AgentSocket = hasNot
		}, true},
	} {
		err := login(t, s, tt.change)
		e, locked := errors.AsType[*host.LockedKeyError](err)
		if locked != tt.locked || !locked && err != nil {
			t.Errorf("%s: error %v, want one about a passphrase: %t", name, err, tt.locked)
		}
		if locked && (len(e.Files) != 1 || !strings.Contains(e.Files[0], "id")) {
			t.Errorf("%s: files %q", name, e.Files)
		}
	}
	if err := login(t, s, func(c *host.SSHConfig) { c.KeyFile, c.Passphrases = file, map[string][]byte{file: []byte("falsch")} }); err == nil || !strings.Contains(err.Error(), "does not open it") {
		t.Errorf("wrong passphrase: %v", err)
	}
	// A login that needs it not does not mention it.
	if err := login(t, allow(t, otherPublic, nil), func(c *host.SSHConfig) {
		copyKey(t, file, c.Home, "id_ed25519")
		c.AgentSocket = hasNot
	}); err != nil {
		t.Errorf("another key is accepted: %v", err)
	}
}

func copyKey(t *testing.T, from, home, name string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".ssh", name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A server that trusts an authority accepts a certificate beside the key, one that the
// configuration names, and one in ssh-agent. One that has ended is explained.
func TestUserCertificate(t *testing.T) {
	ca := newKey(t)
	file := filepath.Join(t.TempDir(), "id")
	public := writeKey(t, file)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	private, err := ssh.ParseRawPrivateKey(b)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	issue := func(until time.Time) *ssh.Certificate {
		cert := &ssh.Certificate{
			Key: public, CertType: ssh.UserCert, ValidPrincipals: []string{"root"},
			ValidAfter: uint64(now.Add(-time.Hour).Unix()), ValidBefore: uint64(until.Unix()),
		}
		if err := cert.SignCert(rand.Reader, ca); err != nil {
			t.Fatal(err)
		}
		return cert
	}
	write := func(file string, cert *ssh.Certificate) {
		if err := os.WriteFile(file, ssh.MarshalAuthorizedKey(cert), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := allow(t, nil, ca.PublicKey())
	use := func(c *host.SSHConfig) { c.KeyFile = file }
	if err := login(t, s, use); err == nil {
		t.Fatal("logged in without a certificate")
	}
	cert := issue(now.Add(time.Hour))
	named := filepath.Join(t.TempDir(), "signed.pub")
	write(named, cert)
	if err := login(t, s, func(c *host.SSHConfig) {
		c.ConfigFile = filepath.Join(c.Home, "config")
		if err := os.WriteFile(c.ConfigFile, []byte("IdentityFile "+file+"\nCertificateFile "+named+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}); err != nil {
		t.Errorf("CertificateFile: %v", err)
	}
	socket := sshAgent(t, agent.AddedKey{PrivateKey: private, Certificate: cert})
	if err := login(t, s, func(c *host.SSHConfig) { c.AgentSocket = socket }); err != nil {
		t.Errorf("certificate in ssh-agent: %v", err)
	}
	write(file+"-cert.pub", cert)
	if err := login(t, s, use); err != nil {
		t.Errorf("certificate beside the key: %v", err)
	}
	write(file+"-cert.pub", issue(now.Add(-time.Minute)))
	if err := login(t, s, use); err == nil || !strings.Contains(err.Error(), "-cert.pub\" ended at ") {
		t.Errorf("certificate that has ended: %v", err)
	}
}
