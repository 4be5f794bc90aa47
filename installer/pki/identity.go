package pki

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
)

// Identity returns the identity of the cluster, "sha256:<hex>" over the certificates
// of its authorities and the public key of its service account tokens. It is "" if
// any file that Establish creates is missing: with the rest alone, nobody may change
// a running cluster. Hosts record it, so that they refuse credentials of another
// cluster of that name.
func (s *Credentials) Identity() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity()
}

// Missing returns the names of the files without which there is no identity, nil if
// all exist or none does.
func (s *Credentials) Missing() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dir.missing()
}

func (s *Credentials) identity() (string, error) { return s.dir.identity() }

func (d stateDir) identity() (string, error) {
	sum := sha256.New()
	for _, file := range irreplaceable() {
		b, err := d.read(file)
		if err != nil {
			return "", err
		}
		if b == nil {
			return "", nil
		}
		if ext := filepath.Ext(file); ext != ".crt" && ext != ".pub" {
			continue
		}
		block, _ := pem.Decode(b)
		if block == nil {
			return "", fmt.Errorf("%q in %q: not PEM", file, d.path)
		}
		_, _ = sum.Write(block.Bytes) // never fails
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

func (d stateDir) missing() ([]string, error) {
	var out []string
	for _, file := range irreplaceable() {
		b, err := d.read(file)
		if err != nil {
			return nil, err
		}
		if b == nil {
			out = append(out, file)
		}
	}
	if len(out) == len(irreplaceable()) {
		return nil, nil
	}
	return out, nil
}

// uidFile holds the UID of the cluster, 32 hex digits.
const uidFile = "cluster-uid"

// NewUID returns a random UID of a cluster.
func NewUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// uid returns the UID of the cluster, which stays the same when its authorities are
// replaced; "" if there is no identity.
func (d stateDir) uid() (string, error) {
	id, err := d.identity()
	if id == "" || err != nil {
		return "", err
	}
	b, err := d.read(uidFile)
	if b == nil {
		return uidOf(id), err
	}
	return strings.TrimSpace(string(b)), err
}

// uidOf returns the UID of a cluster whose authorities were never replaced.
func uidOf(identity string) string { return strings.TrimPrefix(identity, "sha256:")[:32] }

// irreplaceable returns the names of the files that a running cluster cannot do
// without: those that Establish creates. The identity covers the public ones, in this order.
func irreplaceable() []string {
	var out []string
	for _, ca := range authorities() {
		out = append(out, caName(ca)+".crt", caName(ca)+".key")
	}
	return append(out, serviceAccountFile+".pub", serviceAccountFile+".key", encryptionFile)
}

// Establish creates the credentials that a running cluster cannot change: the
// authorities, the key of the service account tokens and the key of the encryption at
// rest. It returns the identity. What exists stays as it is. Call it only if no host
// has been installed with other credentials.
func (s *Credentials) Establish() (identity string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.establish(); err != nil {
		return "", err
	}
	if identity, err = s.identity(); err != nil {
		return "", err
	}
	uid, err := s.dir.read(uidFile)
	if err == nil && uid == nil {
		err = s.dir.write(uidFile, []byte(cmp.Or(s.newUID, uidOf(identity))+"\n"))
	}
	return identity, err
}

func (s *Credentials) establish() error {
	for _, ca := range authorities() {
		if _, err := s.authority(ca); err != nil {
			return err
		}
	}
	if _, _, err := s.serviceAccount(); err != nil {
		return err
	}
	_, err := s.encryption()
	return err
}
