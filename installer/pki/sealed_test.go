package pki

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

var testPass = []byte("correct horse")

// sealed returns a state directory with everything in it, and its state sealed.
func sealed(t *testing.T) (dir string, b []byte) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir, time.Now(), nil)
	if _, err := s.Establish(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ensure(); err != nil {
		t.Fatal(err)
	}
	resolve(t, s, RefToken)
	if err := os.WriteFile(filepath.Join(dir, "admin.kubeconfig"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, seal(t, dir, testPass)
}

func seal(t *testing.T, dir string, pass []byte) []byte {
	t.Helper()
	st, err := ReadState(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	b, err := st.Seal(pass)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unseal(t *testing.T, b []byte) *State {
	t.Helper()
	s, err := ParseSealed(b)
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Open(testPass)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestSealedStateTravels(t *testing.T) {
	dir, b := sealed(t)
	for _, secret := range []string{"PRIVATE", "secretbox:", "BEGIN"} {
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("the sealed state has %q in it", secret)
		}
	}
	dest := filepath.Join(t.TempDir(), "new", "state")
	changed, err := unseal(t, b).Write(dest)
	if err != nil || !slices.Contains(changed, "encryption-config.yaml") {
		t.Fatalf("changed %q, %v", changed, err)
	}
	for _, f := range []string{"bootstrap-token.json", "admin.kubeconfig", "lock"} {
		if slices.Contains(changed, f) {
			t.Errorf("%s came with the state", f)
		}
	}
	now := open(t, dest, time.Now(), nil)
	was, _ := open(t, dir, time.Now(), nil).Identity()
	if id, err := now.Identity(); id != was || err != nil {
		t.Errorf("identity %q, %v, want %q", id, err, was)
	}
	if issued, err := now.Ensure(); len(issued) > 0 || err != nil {
		t.Errorf("issued again: %q, %v", issued, err)
	}
	if again, err := unseal(t, b).Write(dest); len(again) > 0 || err != nil {
		t.Errorf("the second time: changed %q, %v", again, err)
	}
	for _, f := range changed {
		if info, err := os.Stat(filepath.Join(dest, f)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want mode 0600", f, info.Mode(), err)
		}
	}
}

// A lost file comes back; another cluster's directory stays as it is.
func TestWriteStateOverAnother(t *testing.T) {
	dir, b := sealed(t)
	lost := filepath.Join(dir, "encryption-config.yaml")
	if err := os.Remove(lost); err != nil {
		t.Fatal(err)
	}
	if changed, err := unseal(t, b).Write(dir); len(changed) != 1 || err != nil {
		t.Errorf("changed %q, %v, want what was lost", changed, err)
	}
	other, _ := sealed(t)
	before := tree(t, other)
	if _, err := unseal(t, b).Write(other); !errors.Is(err, ErrOtherState) {
		t.Errorf("another cluster: %v, want ErrOtherState", err)
	}
	// The same authorities with another key of the encryption at rest are another state too.
	if err := os.WriteFile(lost, []byte("kind: EncryptionConfiguration\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := unseal(t, b).Write(dir); !errors.Is(err, ErrOtherState) {
		t.Errorf("another encryption key: %v, want ErrOtherState", err)
	}
	if tree(t, other) != before {
		t.Error("the directory of the other cluster changed")
	}
}

// A certificate that was renewed after the export stays, one that is older is replaced.
func TestWriteStateKeepsTheNewer(t *testing.T) {
	dir, old := sealed(t)
	later := open(t, dir, time.Now().Add(leafLifetime-renewBefore/2), nil)
	if issued, err := later.Ensure(); err != nil || len(issued) == 0 {
		t.Fatalf("issued %q, %v", issued, err)
	}
	renewed := seal(t, dir, testPass)
	if changed, err := unseal(t, old).Write(dir); len(changed) > 0 || err != nil {
		t.Errorf("changed %q, %v, want what is newer", changed, err)
	}
	dest := t.TempDir()
	if _, err := unseal(t, old).Write(dest); err != nil {
		t.Fatal(err)
	}
	if changed, err := unseal(t, renewed).Write(dest); !slices.Contains(changed, "admin.crt") || !slices.Contains(changed, "admin.key") || err != nil {
		t.Errorf("changed %q, %v, want renewed credentials", changed, err)
	}
}

func TestDamagedSealedState(t *testing.T) {
	_, b := sealed(t)
	s, err := ParseSealed(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"", "Correct horse", "correct horse "} {
		if _, err := s.Open([]byte(p)); !errors.Is(err, trust.ErrPassphrase) {
			t.Errorf("passphrase %q: %v, want ErrPassphrase", p, err)
		}
	}
	for n := 0; n < len(b)-1; n += 1 + len(b)/50 {
		if _, err := ParseSealed(b[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("first %d bytes: %v, want ErrDamaged", n, err)
		}
	}
	// Another letter anywhere is found before the passphrase is asked for, or by it.
	for i := 0; i < len(b); i += 1 + len(b)/50 {
		bad := bytes.Clone(b)
		if bad[i] = 'A'; bad[i] == b[i] {
			bad[i] = 'B'
		}
		s, err := ParseSealed(bad)
		if err == nil {
			_, err = s.Open(testPass)
		}
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d: %v, want ErrDamaged", i, err)
		}
	}
}

// The readable part cannot be altered, and a state that does not fit together is refused.
func TestStateThatDoesNotFit(t *testing.T) {
	_, b := sealed(t)
	s, err := ParseSealed(b)
	if err != nil {
		t.Fatal(err)
	}
	s.Cluster = "another"
	if _, err := s.Open(testPass); !errors.Is(err, ErrDamaged) {
		t.Errorf("altered header: %v, want ErrDamaged", err)
	}
	_, strange := sealed(t)
	foreign, intact := unseal(t, strange).Files, unseal(t, b)
	for name, change := range map[string]func(map[string][]byte){
		"no encryption key":        func(f map[string][]byte) { delete(f, "encryption-config.yaml") },
		"no key of an authority":   func(f map[string][]byte) { delete(f, "etcd-ca.key") },
		"no key of a certificate":  func(f map[string][]byte) { delete(f, "admin.key") },
		"another authority's key":  func(f map[string][]byte) { f["etcd-ca.key"] = f["kubernetes-ca.key"] },
		"another certificate":      func(f map[string][]byte) { f["admin.crt"] = f["kubernetes-ca.crt"] },
		"a foreign credential":     func(f map[string][]byte) { f["admin.crt"], f["admin.key"] = foreign["admin.crt"], foreign["admin.key"] },
		"another service account":  func(f map[string][]byte) { f["service-account.key"] = foreign["service-account.key"] },
		"a path":                   func(f map[string][]byte) { f["../admin.crt"] = f["admin.crt"] },
		"a file of something else": func(f map[string][]byte) { f["authorized_keys"] = nil },
		"empty":                    func(f map[string][]byte) { clear(f) },
		"encryption of another kind": func(f map[string][]byte) {
			f["encryption-config.yaml"] = []byte("kind: Secret\n")
		},
	} {
		st := &State{StateHeader: intact.StateHeader, Files: maps.Clone(intact.Files)}
		change(st.Files)
		st.Content = contentOf(st.Files)
		if id, err := (stateDir{memory: secretsOf(st.Files)}).identity(); err == nil && id != "" {
			st.Identity = id
		}
		dest := t.TempDir()
		if _, err := st.Write(dest); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
		if files, _ := os.ReadDir(dest); len(files) > 0 {
			t.Errorf("%s: wrote %v", name, files)
		}
	}
}

func secretsOf(files map[string][]byte) map[string]trust.Secret {
	out := map[string]trust.Secret{}
	for name, b := range files {
		out[name] = b
	}
	return out
}

func TestStateDoesNotPrint(t *testing.T) {
	_, b := sealed(t)
	st := unseal(t, b)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if text := fmt.Sprintf(verb, st); text != "***" {
			t.Errorf("%s prints %.60q", verb, text)
		}
	}
}

func TestSealCopy(t *testing.T) {
	dir, _ := sealed(t)
	s := open(t, dir, time.Now(), nil)
	is := func(what string, s *Credentials, pass []byte, want CopyState) []byte {
		t.Helper()
		if got, err := s.SealCopy("test", pass); got != want || err != nil {
			t.Fatalf("%s: %q, %v, want %q", what, got, err, want)
		}
		if want == CopyNone {
			return nil
		}
		return resolve(t, s, RefCopy)
	}
	is("no passphrase", s, nil, CopyNone)
	first := is("first", s, testPass, CopyCurrent)
	if !bytes.Equal(is("again", s, testPass, CopyCurrent), first) || !bytes.Equal(is("again without", s, nil, CopyCurrent), first) {
		t.Error("sealed again without a change")
	}
	if _, err := s.SealCopy("test", []byte("wrong")); !errors.Is(err, trust.ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	// It travels with an export, so that another machine does not take it off the hosts.
	dest := t.TempDir()
	if _, err := unseal(t, seal(t, dir, testPass)).Write(dest); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(is("elsewhere", open(t, dest, time.Now(), nil), nil, CopyCurrent), first) {
		t.Error("the copy changed on the way")
	}
	more := open(t, dir, time.Now(), func(c *manifests.Cluster) {
		c.Hosts = append(c.Hosts, manifests.Host{Name: "node-2", Address: "10.0.0.13", Roles: []manifests.Role{manifests.RoleWorker}})
	})
	if _, err := more.Ensure(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(is("a host more", more, nil, CopyOld), first) {
		t.Error("the copy changed without a passphrase")
	}
	second := is("a host more, with a passphrase", more, testPass, CopyCurrent)
	if st := unseal(t, second); bytes.Equal(second, first) || len(st.Copy) > 0 || st.Files["kube-proxy-node-2.crt"] == nil {
		t.Error("the copy was not made again")
	}
}

func TestSummary(t *testing.T) {
	dir, _ := sealed(t)
	s := open(t, dir, time.Now(), nil)
	v, err := s.Summary("test")
	id, _ := s.Identity()
	if err != nil || v.Identity != id || len(v.UID) != 32 || len(v.Authorities) != 3 || v.Certificates == 0 || v.FirstEnd == nil || v.Copy != CopyNone {
		t.Errorf("%+v, %v", v, err)
	}
	if b, _ := json.Marshal(v); bytes.Contains(b, []byte("KEY")) || strings.Contains(string(b), "null") {
		t.Errorf("%s", b)
	}
	if err := os.Remove(filepath.Join(dir, "encryption-config.yaml")); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Summary("test"); err != nil || v.Identity != "" || !slices.Equal(v.Missing, []string{"encryption-config.yaml"}) {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestBelongs(t *testing.T) {
	dir, _ := sealed(t)
	for name, tt := range map[string]struct {
		dir    string
		change func(*manifests.Cluster)
		want   bool
	}{
		"the same":              {dir, nil, true},
		"a member more":         {dir, func(c *manifests.Cluster) { c.Hosts[1].Roles = append(c.Hosts[1].Roles, manifests.RoleEtcd) }, true},
		"other addresses":       {dir, func(c *manifests.Cluster) { c.Hosts[0].Address = "10.9.0.11" }, false},
		"other names":           {dir, func(c *manifests.Cluster) { c.Hosts[0].Name = "master" }, false},
		"an empty directory":    {t.TempDir(), nil, true},
		"a directory not there": {filepath.Join(t.TempDir(), "none"), nil, true},
	} {
		if got, err := open(t, tt.dir, time.Now(), tt.change).Belongs(); got != tt.want || err != nil {
			t.Errorf("%s: %v, %v, want %v", name, got, err, tt.want)
		}
	}
}

func TestUID(t *testing.T) {
	uid := NewUID()
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, Cluster: testCluster(), UID: uid})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Establish(); err != nil {
		t.Fatal(err)
	}
	// A UID that is given later does not replace it.
	s, err = Open(Options{Dir: dir, Cluster: testCluster(), UID: NewUID()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Establish(); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Summary("test"); v.UID != uid || err != nil {
		t.Errorf("%q, %v, want %q", v.UID, err, uid)
	}
	// A directory of an earlier version has none: it follows from the authorities.
	if err := os.Remove(filepath.Join(dir, uidFile)); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Summary("test"); v.UID != uidOf(v.Identity) || err != nil {
		t.Errorf("%+v, %v", v, err)
	}
}
