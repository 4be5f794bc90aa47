package pki

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, time.Now(), nil)
	if id, err := s.Identity(); id != "" || err != nil {
		t.Errorf("before: %q, %v, want none", id, err)
	}
	id, err := s.Establish()
	if err != nil || !strings.HasPrefix(id, "sha256:") {
		t.Fatalf("%q, %v", id, err)
	}
	encryption := resolve(t, s, RefEncryption)
	again := open(t, dir, time.Now().Add(time.Hour), nil)
	if got, err := again.Establish(); got != id || err != nil {
		t.Errorf("again: %q, %v, want %q", got, err, id)
	}
	if !bytes.Equal(resolve(t, again, RefEncryption), encryption) {
		t.Error("the key of the encryption at rest changed")
	}
	if other, err := open(t, t.TempDir(), time.Now(), nil).Establish(); other == id || err != nil {
		t.Errorf("another directory: %q, %v, want another identity", other, err)
	}
}

// Without any one of the files that cannot be made again there is no identity, so that
// a run does not make that file again for a running cluster.
func TestIdentityNeedsEveryFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, time.Now(), nil)
	id, err := s.Establish()
	if err != nil {
		t.Fatal(err)
	}
	files := []string{
		"kubernetes-ca.crt", "kubernetes-ca.key", "etcd-ca.crt", "etcd-ca.key", "front-proxy-ca.crt", "front-proxy-ca.key",
		"service-account.key", "service-account.pub", "encryption-config.yaml",
	}
	for _, f := range files {
		path := filepath.Join(dir, f)
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Identity(); got != "" || err != nil {
			t.Errorf("without %s: %q, %v, want none", f, got, err)
		}
		if missing, err := s.Missing(); len(missing) != 1 || missing[0] != f || err != nil {
			t.Errorf("without %s: missing %q, %v", f, missing, err)
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Identity(); got != id || err != nil {
		t.Errorf("complete again: %q, %v, want %q", got, err, id)
	}
	if missing, err := open(t, t.TempDir(), time.Now(), nil).Missing(); missing != nil || err != nil {
		t.Errorf("an empty directory: missing %q, %v, want none", missing, err)
	}
}

// A dry run issues consistent credentials and leaves no file behind.
func TestDryRunWritesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := Open(Options{Dir: dir, DryRun: true, Cluster: testCluster()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Establish(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ensure(); err != nil {
		t.Fatal(err)
	}
	if issued, err := s.Ensure(); err != nil || len(issued) > 0 {
		t.Errorf("issued again: %v, %v", issued, err)
	}
	resolve(t, s, RefToken)
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("state directory: %v, want none", err)
	}

	if _, err := open(t, dir, time.Now(), nil).Ensure(); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	// Renewal is due, but not in a dry run.
	s, err = Open(Options{Dir: dir, DryRun: true, Cluster: testCluster(), Now: func() time.Time { return time.Now().Add(leafLifetime) }})
	if err != nil {
		t.Fatal(err)
	}
	if issued, err := s.Ensure(); err != nil || len(issued) == 0 {
		t.Errorf("issued %v, %v, want renewals", issued, err)
	}
	if after := tree(t, dir); after != before {
		t.Errorf("state directory changed from\n%s\nto\n%s", before, after)
	}
}

// tree returns the names and contents of the files in dir.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(f.Name() + "\n" + string(data))
	}
	return b.String()
}
