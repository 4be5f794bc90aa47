package host_test

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/offk8s/offk8s/installer/host/hosttest"
)

// server is an SSH server on loopback that runs commands with sh as the current user.
type server struct {
	Port int
	// HostKey is its first host key, KeyFile a private key that may log in.
	HostKey ssh.PublicKey
	KeyFile string
	User    ssh.PublicKey // of KeyFile
	Shell   string        // runs before each command, like .bashrc

	wg      sync.WaitGroup
	mu      sync.Mutex
	conns   []net.Conn
	lines   []string
	users   []string // that logged in
	serving int
}

// newKey returns a fresh key.
func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	key, _, err := hosttest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newServer starts a server with host keys, by default one fresh ed25519 key. change may
// be nil or change the configuration. The server stops at the end of the test.
func newServer(t testing.TB, change func(*ssh.ServerConfig), hostKeys ...ssh.Signer) *server {
	t.Helper()
	s := &server{KeyFile: filepath.Join(t.TempDir(), "id")}
	user := writeKey(t, s.KeyFile)
	conf := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if string(k.Marshal()) != string(user.Marshal()) {
			return nil, errors.New("unknown user key")
		}
		return nil, nil
	}}
	s.User = user
	if len(hostKeys) == 0 {
		hostKeys = []ssh.Signer{newKey(t)}
	}
	s.HostKey = hostKeys[0].PublicKey()
	for _, k := range hostKeys {
		conf.AddHostKey(k)
	}
	if change != nil {
		change(conf)
	}
	conf.AuthLogCallback = func(m ssh.ConnMetadata, _ string, err error) {
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.users = append(s.users, m.User())
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Port = l.Addr().(*net.TCPAddr).Port
	s.wg.Go(func() {
		hosttest.Accept(l, func(c net.Conn) {
			s.count(c, 1)
			defer s.count(nil, -1)
			hosttest.Answer(c, conf, s.run, s.forward)
		})
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.Cut()
		s.wg.Wait()
	})
	return s
}

// Address returns host and port as known_hosts writes them.
func (s *server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// Lines returns the command lines that were run.
func (s *server) Lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.lines...)
}

// Users returns the users that logged in.
func (s *server) Users() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.users...)
}

// Cut closes all connections as a network failure would.
func (s *server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

// count notes a connection that begins, or one that ends.
func (s *server) count(c net.Conn, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving += n
	if c != nil {
		s.conns = append(s.conns, c)
	}
}

func writeKey(t testing.TB, file string) ssh.PublicKey {
	t.Helper()
	key, private, err := hosttest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, private, 0o600); err != nil {
		t.Fatal(err)
	}
	return key.PublicKey()
}

// forward connects a client to another server, as a bastion does.
func (s *server) forward(n ssh.NewChannel) {
	var to struct {
		Host   string
		Port   uint32
		Origin string
		From   uint32
	}
	if err := ssh.Unmarshal(n.ExtraData(), &to); err != nil {
		_ = n.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	addr := net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port)))
	s.mu.Lock()
	s.lines = append(s.lines, "forward "+addr)
	s.mu.Unlock()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		_ = n.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer c.Close()
	ch, reqs, err := n.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	go ssh.DiscardRequests(reqs)
	go func() {
		_, _ = io.Copy(c, ch)
		_ = c.Close()
	}()
	_, _ = io.Copy(ch, c)
}

// run runs a command line with a shell.
func (s *server) run(line string, ch ssh.Channel) int {
	s.mu.Lock()
	s.lines = append(s.lines, line)
	s.mu.Unlock()
	cmd := exec.Command("bash", "-c", s.Shell+line)
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	in, err := cmd.StdinPipe()
	if err != nil {
		return 255
	}
	go func() {
		_, _ = io.Copy(in, ch)
		_ = in.Close()
	}()
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		return 255
	}
	return 0
}

// Wait waits until the server has no connection.
func (s *server) Wait(t *testing.T) {
	t.Helper()
	for t.Context().Err() == nil {
		s.mu.Lock()
		n := s.serving
		s.mu.Unlock()
		if n == 0 {
			return
		}
		runtime.Gosched()
	}
}
