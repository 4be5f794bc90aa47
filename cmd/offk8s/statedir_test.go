package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
)

// site returns a cluster of that one name, with one host.
func site(address string) *manifests.Cluster {
	return &manifests.Cluster{Name: "site", Hosts: []manifests.Host{
		{Name: "cp-1", Address: address, Roles: []manifests.Role{manifests.RoleControlPlane, manifests.RoleEtcd, manifests.RoleWorker}},
	}}
}

// seen is the input of a run on hosts that record the identity; "" is a new host.
func seen(c *manifests.Cluster, identity string) stage.Input {
	in := stage.Input{Cluster: c, Lock: &manifests.Lock{}, Facts: map[string]facts.Facts{"cp-1": {}}}
	if identity != "" {
		in.Facts["cp-1"] = facts.Facts{Installed: &facts.Installed{Cluster: c.Name, Host: "cp-1", Identity: identity}}
	}
	return in
}

// installed makes the state of c as the first install does, and returns it.
func installed(t *testing.T, c *manifests.Cluster) clusterState {
	t.Helper()
	s, unlock, err := clusterOptions{}.stateFor(seen(c, ""), false)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if s.identity, err = s.credentials.Establish(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.credentials.Ensure(); err != nil {
		t.Fatal(err)
	}
	return s
}

// Two clusters of one name have two directories, and each run takes that of its hosts.
func TestTwoClustersOfOneName(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	one, two := site("192.0.2.1"), site("198.51.100.1")
	a, b := installed(t, one), installed(t, two)
	if filepath.Base(a.dir) != "site" || !strings.HasPrefix(filepath.Base(b.dir), "site-") || a.identity == b.identity {
		t.Fatalf("directories %q and %q, identities %s and %s", a.dir, b.dir, a.identity, b.identity)
	}
	if v, err := b.credentials.Summary("site"); err != nil || filepath.Base(b.dir) != "site-"+v.UID[:8] {
		t.Errorf("directory %q of the cluster %s, %v", b.dir, v.UID, err)
	}
	moved := site("192.0.2.77") // the hosts decide, even with other addresses
	for _, tt := range []struct {
		name     string
		c        *manifests.Cluster
		identity string
		want     clusterState
	}{
		{"hosts of the first", one, a.identity, a},
		{"hosts of the second", two, b.identity, b},
		{"hosts with new addresses", moved, b.identity, b},
		{"the first after reset", one, "", a},
		{"the second after reset", two, "", b},
	} {
		got, unlock, err := clusterOptions{}.stateFor(seen(tt.c, tt.identity), false)
		if err != nil || got.dir != tt.want.dir || got.identity != tt.want.identity {
			t.Errorf("%s: %q, %v, want %q", tt.name, got.dir, err, tt.want.dir)
			continue
		}
		_ = unlock()
	}
	if _, _, err := (clusterOptions{}).stateFor(seen(one, "sha256:other"), false); !errors.Is(err, agent.ErrIdentity) {
		t.Errorf("hosts of a third: %v, want ErrIdentity", err)
	}
}

// A directory that lacks a key is no state, and no key is made for it.
func TestIncompleteStateIsRefused(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	s := installed(t, site("192.0.2.1"))
	lost := filepath.Join(s.dir, "encryption-config.yaml")
	if err := os.Remove(lost); err != nil {
		t.Fatal(err)
	}
	_, _, err := clusterOptions{}.stateFor(seen(site("192.0.2.1"), s.identity), false)
	if !errors.Is(err, agent.ErrIdentity) || !strings.Contains(err.Error(), "encryption-config.yaml is missing") {
		t.Errorf("%v, want ErrIdentity that names the file", err)
	}
	if _, err := os.Stat(lost); !os.IsNotExist(err) {
		t.Errorf("the file: %v, want none", err)
	}
}

// Behind sudo, with another home directory, the state of the user is found and named, and
// no authorities are made beside it.
func TestStateOfAnotherHome(t *testing.T) {
	user := t.TempDir()
	t.Setenv("XDG_STATE_HOME", filepath.Join(user, defaultState))
	s := installed(t, site("192.0.2.1"))
	root := t.TempDir()
	t.Setenv("XDG_STATE_HOME", root)
	t.Setenv("SUDO_USER", "alice")
	t.Setenv("SUDO_HOME", user)
	for name, identity := range map[string]string{"a cluster that runs": s.identity, "new hosts": ""} {
		_, _, err := clusterOptions{}.stateFor(seen(site("192.0.2.1"), identity), false)
		code, hint := classify(err)
		if !errors.Is(err, agent.ErrIdentity) || code != exitPolicy || !strings.Contains(hint, "--state "+s.dir) {
			t.Errorf("%s: %v (exit %d, hint %q)", name, err, code, hint)
		}
	}
	if made, _ := os.ReadDir(root); len(made) > 0 {
		t.Errorf("made %v", made)
	}
	// Named, it is used; a cluster of other hosts is none of its business.
	got, unlock, err := clusterOptions{state: s.dir}.stateFor(seen(site("192.0.2.1"), s.identity), false)
	if err != nil || got.identity != s.identity {
		t.Fatalf("--state: %v", err)
	}
	_ = unlock()
	if _, unlock, err = (clusterOptions{}).stateFor(seen(site("198.51.100.1"), ""), false); err != nil {
		t.Fatalf("other hosts: %v", err)
	}
	_ = unlock()
}

func TestDryRunLeavesNoDirectory(t *testing.T) {
	base := t.TempDir()
	t.Setenv("XDG_STATE_HOME", base)
	if _, _, err := (clusterOptions{}).stateFor(seen(site("192.0.2.1"), ""), true); err != nil {
		t.Fatal(err)
	}
	if made, _ := os.ReadDir(base); len(made) > 0 {
		t.Errorf("made %v", made)
	}
}

// The copies for control planes are made with a passphrase, stay as they are without, and
// are renewed only if the state has changed.
func TestCopiesOfTheState(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	pass := filepath.Join(t.TempDir(), "pass.txt")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(pass, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("correct horse")
	var stderr bytes.Buffer
	a := newApp(strings.NewReader(""), &bytes.Buffer{}, &stderr)
	with := installOptions{pass: passphrase{flag: "state-passphrase-file", file: pass}}
	c := site("192.0.2.1")
	run := func(o installOptions, c *manifests.Cluster) (copies bool, sealed string, err error) {
		t.Helper()
		stderr.Reset()
		s, unlock, err := o.cluster.stateFor(seen(c, ""), false)
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		if copies, err = o.copies(s); err != nil {
			t.Fatal(err)
		}
		if err = a.establish(o, c, &s); err == nil && copies {
			var b []byte
			b, err = s.credentials.Resolve(pki.RefCopy)
			sealed = string(b)
		}
		return copies, sealed, err
	}
	if copies, _, err := run(installOptions{}, c); copies || err != nil {
		t.Errorf("without a passphrase: copies %v, %v", copies, err)
	}
	_, first, err := run(with, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []installOptions{with, {}} {
		if copies, again, err := run(o, c); !copies || again != first || err != nil || stderr.Len() > 0 {
			t.Errorf("again: copies %v, the same %v, %v, %s", copies, again == first, err, &stderr)
		}
	}
	more := site("192.0.2.1")
	more.Hosts = append(more.Hosts, manifests.Host{Name: "node-1", Address: "192.0.2.2", Roles: []manifests.Role{manifests.RoleWorker}})
	if _, sealed, err := run(installOptions{}, more); sealed != first || err != nil || !strings.Contains(stderr.String(), "out of date") {
		t.Errorf("a host more: the same %v, %v, %q", sealed == first, err, &stderr)
	}
	if _, sealed, err := run(with, more); sealed == first || err != nil || stderr.Len() > 0 {
		t.Errorf("a host more, with the passphrase: the same %v, %v, %q", sealed == first, err, &stderr)
	}
	write("battery staple")
	_, _, err = run(with, more)
	if code, hint := classify(err); !errors.Is(err, trust.ErrPassphrase) || code != exitPassphrase || !strings.Contains(hint, pki.CopyFile) {
		t.Errorf("another passphrase: %v (exit %d, hint %q)", err, code, hint)
	}
	write("")
	if _, _, err = run(with, more); !as[usageError](err) {
		t.Errorf("empty passphrase: %v", err)
	}
}

func TestStateDirsAreOfTheNameOnly(t *testing.T) {
	base := t.TempDir()
	for _, name := range []string{"site-2", "site-0123abcd", "site-0123abcd-1", "site-b-0123abcd", "other"} {
		if err := os.MkdirAll(filepath.Join(base, "clusters", name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, dir := range stateDirs(base, "site") {
		got = append(got, filepath.Base(dir))
	}
	if want := []string{"site", "site-0123abcd"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
