package pki

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests/strict"
)

const (
	encryptionFile = "encryption-config.yaml"
	// rotationFile holds the name of the new key from before it exists until every API
	// server has it alone.
	rotationFile = "encryption-rotation"
)

// encryptionText is the API server's EncryptionConfiguration with one key. Secrets are
// written with the first key and read with any.
const encryptionText = `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - secretbox:
          keys:
            - name: %s
              secret: %s
      - identity: {}
`

// encryptionKey is a key of the encryption at rest, "key1" and 32 bytes in base64.
type encryptionKey struct{ name, secret string }

func newEncryptionKey(n int) encryptionKey {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return encryptionKey{"key" + strconv.Itoa(n), base64.StdEncoding.EncodeToString(b)}
}

// number returns the n of "keyn"; newer keys have higher ones.
func (k encryptionKey) number() int {
	n, _ := strconv.Atoi(strings.TrimPrefix(k.name, "key")) // encryptionLines has matched it
	return n
}

var encryptionLines = strict.NewPattern(`(?m)^ +- name: (key[0-9]{1,6})\n +secret: (\S+)$`)

// encryptionKeys returns the keys of a configuration in order.
func encryptionKeys(config []byte) []encryptionKey {
	var out []encryptionKey
	for _, m := range encryptionLines.Regexp().FindAllSubmatch(config, -1) {
		out = append(out, encryptionKey{string(m[1]), string(m[2])})
	}
	return out
}

// encryptionConfig returns the configuration with these keys.
func encryptionConfig(keys []encryptionKey) trust.Secret {
	text := fmt.Sprintf(encryptionText, keys[0].name, keys[0].secret)
	head, tail, _ := strings.Cut(text, "      - identity")
	for _, k := range keys[1:] {
		head += fmt.Sprintf("            - name: %s\n              secret: %s\n", k.name, k.secret)
	}
	return trust.Secret(head + "      - identity" + tail)
}

// WritesWith returns the name of the key with which an API server with the configuration
// writes Secrets, "" if it is not one of offk8s, and whether one with the configuration next
// reads them.
func WritesWith(config, next []byte) (name string, read bool) {
	keys := encryptionKeys(config)
	if len(keys) == 0 {
		return "", true
	}
	return keys[0].name, slices.Contains(encryptionKeys(next), keys[0])
}

// encryption returns the API server's EncryptionConfiguration. It is created once,
// because without its key the cluster's Secrets are lost.
func (s *Credentials) encryption() (trust.Secret, error) {
	b, err := s.dir.read(encryptionFile)
	if err != nil || b != nil {
		return b, err
	}
	b = encryptionConfig([]encryptionKey{newEncryptionKey(1)})
	return b, s.dir.write(encryptionFile, b)
}

// RotationPhase tells how far the replacement of the key that encrypts Secrets is.
type RotationPhase string

// The phases. In each, every API server may have the keys of this phase or of the one
// before, and reads what the others write.
const (
	RotationNone  RotationPhase = ""      // one key, and no replacement
	RotationAdded RotationPhase = "added" // the new key is second: it reads
	RotationFirst RotationPhase = "first" // the new key is first: it writes
	RotationAlone RotationPhase = "alone" // the old key is gone
)

// Rotation is a replacement of the key that encrypts Secrets in etcd.
type Rotation struct {
	Phase RotationPhase
	Key   string // name of the newest key
}

// Rotation returns how far the replacement of the key is.
func (s *Credentials) Rotation() (Rotation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, _, err := s.rotation()
	return r, err
}

func (s *Credentials) rotation() (Rotation, []encryptionKey, error) {
	config, err1 := s.dir.read(encryptionFile)
	marker, err2 := s.dir.read(rotationFile)
	if err := errors.Join(err1, err2); err != nil {
		return Rotation{}, nil, err
	}
	keys := encryptionKeys(config)
	if len(keys) == 0 || len(keys) > 2 || !bytes.Equal(encryptionConfig(keys), config) {
		return Rotation{}, nil, fmt.Errorf("%q in %q: not as offk8s writes it", encryptionFile, s.dir.path)
	}
	r := Rotation{Key: keys[0].name}
	switch {
	case len(keys) == 2 && keys[1].number() > keys[0].number():
		r = Rotation{RotationAdded, keys[1].name}
	case len(keys) == 2:
		r.Phase = RotationFirst
	case strings.TrimSpace(string(marker)) == r.Key:
		r.Phase = RotationAlone
	}
	return r, keys, nil
}

// Advance begins the next phase. All API servers must have the keys of the phase that ends;
// before RotationAlone, all Secrets must have been written again.
func (s *Credentials) Advance() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, keys, err := s.rotation()
	if err != nil {
		return err
	}
	switch r.Phase {
	case RotationNone:
		next := newEncryptionKey(keys[0].number() + 1)
		if err := s.dir.write(rotationFile, []byte(next.name+"\n")); err != nil {
			return err
		}
		keys = append(keys, next)
	case RotationAdded:
		keys = []encryptionKey{keys[1], keys[0]}
	case RotationFirst:
		keys = keys[:1]
	case RotationAlone:
		return s.dir.remove(rotationFile)
	}
	return s.dir.write(encryptionFile, encryptionConfig(keys))
}

// remove deletes a file, if it exists.
func (d stateDir) remove(name string) error {
	if d.memory != nil {
		delete(d.memory, name)
		return nil
	}
	if err := os.Remove(filepath.Join(d.path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
