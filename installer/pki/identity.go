package pki

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
)

// Identity returns the identity of the cluster, "sha256:<hex>" over the certificates
// of its authorities and the public key of its service account tokens. It is "" if one
// of them does not exist: a cluster that runs cannot have been installed with them.
// Hosts record it, so that they refuse credentials of another cluster of that name.
func (s *Credentials) Identity() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity()
}

func (s *Credentials) identity() (string, error) {
	sum := sha256.New()
	for _, file := range identityFiles() {
		b, err := s.dir.read(file)
		if err != nil {
			return "", err
		}
		if b == nil {
			return "", nil
		}
		block, _ := pem.Decode(b)
		if block == nil {
			return "", fmt.Errorf("%q in %q: not PEM", file, s.dir.path)
		}
		_, _ = sum.Write(block.Bytes) // never fails
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

func identityFiles() []string {
	var out []string
	for _, ca := range authorities() {
		out = append(out, caName(ca)+".crt")
	}
	return append(out, "service-account.pub")
}

// Establish creates what cannot be created again for a running cluster: the
// authorities, the key of the service account tokens and the key of the encryption at
// rest. It returns the identity. What exists stays as it is. Call it only if no host
// has been installed with other credentials.
func (s *Credentials) Establish() (identity string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.establish(); err != nil {
		return "", err
	}
	return s.identity()
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
