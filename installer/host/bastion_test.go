package host_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/offk8s/offk8s/installer/host"
)

// site is a host behind two bastions, with the SSH configuration of a user for all of them.
type site struct {
	outer, inner, target *server
	home                 string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{newServer(t, nil), newServer(t, nil), newServer(t, nil), t.TempDir()}
	var known []string
	for _, x := range []*server{s.outer, s.inner, s.target} {
		known = append(known, knownhosts.Line([]string{knownhosts.Normalize(x.Address())}, x.HostKey))
	}
	s.write(t, "known_hosts", strings.Join(known, "\n")+"\n")
	return s
}

// write writes a file of the user's .ssh.
func (s *site) write(t *testing.T, name, content string) string {
	t.Helper()
	f := filepath.Join(s.home, ".ssh", name)
	if err := os.MkdirAll(filepath.Dir(f), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// config has a Host for each bastion, and one for targets.
func (s *site) config(t *testing.T, target string) {
	s.write(t, "config", fmt.Sprintf(`
Include %s/.ssh/conf.d/*
Host inner
  HostName 127.0.0.1
  Port %d
  User jump2
  IdentityFile %s
  ProxyJump outer
Host cp-*
  HostName 127.0.0.1
  Port %d
  IdentityFile "%s"
%s
`, s.home, s.inner.Port, s.inner.KeyFile, s.target.Port, s.target.KeyFile, target))
	s.write(t, "connect", "#!/bin/bash\nexec 3<>/dev/tcp/$1/$2; cat <&3 & cat >&3\n")
	s.write(t, "conf.d/outer", fmt.Sprintf("Host o?ter\n HostName=127.0.0.1\n Port=%d\n User=jump1\n IdentityFile=%s\n", s.outer.Port, s.outer.KeyFile))
	s.write(t, "conf.d/users", "Host * !cp-9\n User ops\n")
}

// check runs a program on the target.
func (s *site) check(t *testing.T, c host.SSHConfig) error {
	t.Helper()
	c.Name, c.Home = "cp-1", s.home
	h, err := host.DialSSH(t.Context(), c)
	if err != nil {
		return err
	}
	defer h.Close()
	if out, err := host.Output(t.Context(), h, "echo", "there"); err != nil || out != "there\n" {
		t.Errorf("output %q, %v", out, err)
	}
	return nil
}

func TestChainedBastions(t *testing.T) {
	for name, tt := range map[string]struct {
		target string // lines of the configuration
		jump   string // in cluster.yaml
		inner  bool   // the inner bastion is used
		direct bool   // none is
	}{
		"the file names the inner one, which names the outer": {target: "  ProxyJump inner", inner: true},
		"the file names both":                   {target: "  ProxyJump outer,inner", inner: true},
		"cluster.yaml names both":               {jump: "outer,inner", inner: true},
		"cluster.yaml names the outer":          {target: "  ProxyJump inner", jump: "outer"},
		"cluster.yaml wants none":               {target: "  ProxyJump inner", jump: "none", direct: true},
		"the file wants none":                   {target: "  ProxyJump none", direct: true},
		"a jump of all hosts, the bastion too":  {target: "Host *\n  ProxyJump outer"},
		"a command":                             {target: "  ProxyCommand bash ~/.ssh/connect %h %p", direct: true},
		"the first of bastion and command wins": {target: "  ProxyCommand none\n  ProxyJump outer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SHELL", "/bin/sh")
			s := newSite(t)
			t.Setenv("HOME", s.home)
			s.config(t, tt.target)
			// User root, since sudo is not what this is about.
			if err := s.check(t, host.SSHConfig{Address: "cp-7", User: "root", ProxyJump: tt.jump}); err != nil {
				t.Fatal(err)
			}
			forward := func(to *server) []string { return []string{"forward " + to.Address()} }
			wantOuter, wantInner := forward(s.target), []string(nil)
			if tt.inner {
				wantOuter, wantInner = forward(s.inner), forward(s.target)
			}
			if tt.direct {
				wantOuter = nil
			}
			if got := s.outer.Lines(); !slices.Equal(got, wantOuter) {
				t.Errorf("outer bastion: %q, want %q", got, wantOuter)
			}
			if got := s.inner.Lines(); !slices.Equal(got, wantInner) {
				t.Errorf("inner bastion: %q, want %q", got, wantInner)
			}
			if got := s.outer.Users(); !tt.direct && !slices.Equal(got, []string{"jump1"}) {
				t.Errorf("users of the outer bastion: %q", got)
			}
		})
	}
}

// cluster.yaml comes before the file, and the file before the defaults.
func TestConfigPrecedence(t *testing.T) {
	s := newSite(t)
	s.config(t, "")
	dial := func(c host.SSHConfig) {
		t.Helper()
		c.Name, c.Home, c.HostKey = "cp-1", s.home, ssh.FingerprintSHA256(s.target.HostKey)
		h, err := host.DialSSH(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		_ = h.Close()
	}
	dial(host.SSHConfig{Address: "cp-1"})
	dial(host.SSHConfig{Address: "cp-1", User: "admin"})
	dial(host.SSHConfig{Address: "cp-9"}) // Host * !cp-9
	dial(host.SSHConfig{Address: "127.0.0.1", Port: s.target.Port, KeyFile: s.target.KeyFile})
	dial(host.SSHConfig{Address: "127.0.0.1", Port: s.target.Port, KeyFile: s.target.KeyFile, ConfigFile: "none"})
	if got, want := s.target.Users(), []string{"ops", "admin", "root", "ops", "root"}; !slices.Equal(got, want) {
		t.Errorf("users %q, want %q", got, want)
	}
	for _, bad := range []string{"Host *\n Port many\n", "Match exec true\n User x\n"} {
		f := s.write(t, "config", bad)
		if err := s.check(t, host.SSHConfig{Address: "cp-1"}); err == nil || !strings.Contains(err.Error(), f) {
			t.Errorf("%q: error %v, want one that names the file", bad, err)
		}
	}
	if err := s.check(t, host.SSHConfig{Address: "cp-1", ConfigFile: filepath.Join(s.home, "gone")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// Many hosts use one login at the bastion, and come back after it was cut. The last one
// closes it.
func TestBastionIsShared(t *testing.T) {
	s := newSite(t)
	s.config(t, "  ProxyJump outer,inner")
	shared := &host.Bastions{}
	conf := host.SSHConfig{Name: "cp-1", Address: "cp-1", User: "root", Home: s.home, Bastions: shared}
	hosts := make([]host.Host, 8)
	var wg sync.WaitGroup
	for i := range hosts {
		wg.Go(func() {
			h, err := host.DialSSH(t.Context(), conf)
			if err != nil {
				t.Error(err)
				return
			}
			hosts[i] = h
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	if got := len(s.outer.Users()) + len(s.inner.Users()); got != 2 || len(s.target.Users()) != 8 {
		t.Errorf("%d logins at two bastions, want 2; %d at hosts", got, len(s.target.Users()))
	}
	s.outer.Cut()
	if err := hosts[0].Run(t.Context(), []string{"true"}, nil, nil, nil); err == nil {
		t.Error("a program ran without a connection")
	}
	h, err := host.DialSSH(t.Context(), conf)
	if err != nil {
		t.Fatalf("after the bastion was cut: %v", err)
	}
	for _, h := range append(hosts, h) {
		_ = h.Close()
	}
	s.outer.Wait(t)
}

// A bastion's key counts as much as a host's.
func TestBastionHostKeys(t *testing.T) {
	s := newSite(t)
	s.config(t, "  ProxyJump outer,inner")
	line := func(x *server, key ssh.PublicKey) string {
		return knownhosts.Line([]string{knownhosts.Normalize(x.Address())}, key) + "\n"
	}
	s.write(t, "known_hosts", line(s.outer, newKey(t).PublicKey())+line(s.inner, s.inner.HostKey)+line(s.target, s.target.HostKey))
	if err := s.check(t, host.SSHConfig{Address: "cp-1", User: "root"}); !errors.Is(err, host.ErrChangedHost) {
		t.Errorf("changed key of a bastion: %v", err)
	}
	s.write(t, "known_hosts", "")
	var asked []string
	accept := func(name, _, _ string) bool { asked = append(asked, name); return true }
	if err := s.check(t, host.SSHConfig{Address: "cp-1", User: "root", Accept: accept}); err != nil {
		t.Error(err)
	}
	if want := []string{"bastion outer", "bastion inner", "cp-1"}; !slices.Equal(asked, want) {
		t.Errorf("asked about %q, want %q", asked, want)
	}
}

// The error has the words of a bastion or a command that does not connect.
func TestBastionErrors(t *testing.T) {
	s := newSite(t)
	t.Setenv("HOME", s.home)
	s.config(t, "")
	for jump, want := range map[string]string{
		"outer:0": "1 to 65535", "outer,outer:99999": "1 to 65535",
		"jump1@127.0.0.1:1": "ssh bastion jump1@127.0.0.1:1",
	} {
		if err := s.check(t, host.SSHConfig{Address: "cp-1", ProxyJump: jump}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", jump, err, want)
		}
	}
	if err := s.check(t, host.SSHConfig{Address: "127.0.0.1", Port: 1, ProxyJump: "outer", KeyFile: s.outer.KeyFile}); err == nil || !strings.Contains(err.Error(), "bastion outer does not connect to 127.0.0.1:1") {
		t.Errorf("a host that the bastion does not reach: %v", err)
	}
	s.write(t, "refuse", "echo no way >&2; exit 1\n")
	s.config(t, "  ProxyCommand sh ~/.ssh/refuse")
	if err := s.check(t, host.SSHConfig{Address: "cp-1"}); err == nil || !strings.Contains(err.Error(), "ProxyCommand: no way") {
		t.Errorf("a command that fails: %v", err)
	}
	s.write(t, "config", "Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
	if err := s.check(t, host.SSHConfig{Address: "a", KeyFile: s.outer.KeyFile}); err == nil || !strings.Contains(err.Error(), "jumps to itself") {
		t.Errorf("a loop: %v", err)
	}
}
