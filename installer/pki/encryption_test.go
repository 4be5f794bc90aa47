package pki

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The phases of a rotation, each in a process of its own.
func TestRotationPhases(t *testing.T) {
	dir := t.TempDir()
	open := func() *Credentials {
		s, err := Open(Options{Dir: dir, Cluster: testCluster()})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if _, err := open().Establish(); err != nil {
		t.Fatal(err)
	}
	first := string(resolve(t, open(), RefEncryption))
	var names []string
	for _, want := range []Rotation{
		{RotationNone, "key1"}, {RotationAdded, "key2"}, {RotationFirst, "key2"}, {RotationAlone, "key2"}, {RotationNone, "key2"}, {RotationAdded, "key3"},
	} {
		if r, err := open().Rotation(); err != nil || r != want {
			t.Fatalf("%+v, %v: want %+v", r, err, want)
		}
		config := resolve(t, open(), RefEncryption)
		var in []string
		for _, k := range encryptionKeys(config) {
			in = append(in, k.name)
		}
		names = append(names, strings.Join(in, ","))
		if err := open().Advance(); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(names, " "); got != "key1 key1,key2 key2,key1 key2 key2 key2,key3" {
		t.Errorf("keys %s", got)
	}
	if info, err := os.Stat(filepath.Join(dir, encryptionFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: want mode 0600", info.Mode(), err)
	}
	if key := encryptionKeys([]byte(first))[0]; strings.Contains(string(resolve(t, open(), RefEncryption)), key.secret) {
		t.Error("the first key is still there")
	}
}

// A rotation that ended between its name and its key begins again.
func TestRotationWithoutItsKey(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, Cluster: testCluster()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Establish(); err != nil {
		t.Fatal(err)
	}
	if err := s.dir.write(rotationFile, []byte("key2\n")); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Rotation(); err != nil || r.Phase != RotationNone {
		t.Errorf("%+v, %v: want none", r, err)
	}
}

// A file that somebody changed by hand is not rotated.
func TestRotationOfAnotherFile(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, Cluster: testCluster()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Establish(); err != nil {
		t.Fatal(err)
	}
	config := resolve(t, s, RefEncryption)
	if err := s.dir.write(encryptionFile, append(config, "  - resources: [configmaps]\n"...)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rotation(); err == nil {
		t.Error("no error")
	}
	if err := s.Advance(); err == nil {
		t.Error("it went on")
	}
}

func TestWritesWith(t *testing.T) {
	one, two := newEncryptionKey(1), newEncryptionKey(2)
	same := newEncryptionKey(2) // another cluster's
	for _, tt := range []struct {
		now, next []encryptionKey
		ok        bool
	}{
		{[]encryptionKey{one}, []encryptionKey{one, two}, true},
		{[]encryptionKey{one, two}, []encryptionKey{one}, true},
		{[]encryptionKey{two, one}, []encryptionKey{one}, false},
		{[]encryptionKey{two}, []encryptionKey{one, two}, true},
		{[]encryptionKey{two}, []encryptionKey{one, same}, false},
	} {
		if key, ok := WritesWith(encryptionConfig(tt.now), encryptionConfig(tt.next)); ok != tt.ok || key != tt.now[0].name {
			t.Errorf("%v to %v: %s, %t", tt.now, tt.next, key, ok)
		}
	}
	if _, ok := WritesWith([]byte("kind: Other\n"), encryptionConfig([]encryptionKey{one})); !ok {
		t.Error("a file without keys is in the way")
	}
}
