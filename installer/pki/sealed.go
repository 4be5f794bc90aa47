package pki

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

var (
	// ErrDamaged means that a sealed document is not one, or not a whole one, or that its
	// parts do not fit together. A wrong passphrase is trust.ErrPassphrase.
	ErrDamaged = errors.New("not an intact sealed file")
	// ErrOtherState means that a directory already has the state of another cluster.
	ErrOtherState = errors.New("the directory has the state of another cluster")
)

// MaxSealed bounds a sealed state in bytes; a host has about 8 KB in it.
const MaxSealed = 64 << 20

const kindState = "ClusterState"

// StateHeader is the part of a sealed state that is readable without the passphrase.
type StateHeader struct {
	Cluster  string `json:"cluster"`  // name
	UID      string `json:"uid"`      // 32 hex digits
	Identity string `json:"identity"` // "sha256:<hex>", which the hosts of the cluster record
	// Content is the digest of the files. Since they have keys in them, it does not help to
	// guess them.
	Content digest.Digest `json:"content"`
}

// SealedState is the state of a cluster, encrypted with a passphrase as trust.Seal does:
// everything in the state directory that an operator needs to go on with the cluster.
type SealedState struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	StateHeader
	SealedPart
}

// SealedPart is the encrypted part of a sealed document.
type SealedPart struct {
	// Digest is the one of Secret, so that damage does not look like a wrong passphrase.
	Digest digest.Digest   `json:"digest"`
	Secret json.RawMessage `json:"secret"`
}

// SealPart encrypts the JSON of v as trust.Seal does. Each call gives another output.
func SealPart(v any, pass []byte) (SealedPart, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return SealedPart{}, err
	}
	secret, err := trust.Seal(plain, pass)
	return SealedPart{digest.FromBytes(secret), secret}, err
}

// Verify checks that the part is as it was sealed. The error is ErrDamaged.
func (p SealedPart) Verify() error {
	if found := digest.FromBytes(p.Secret); found != p.Digest {
		return fmt.Errorf("%w: its secret part has the digest %s, want %s", ErrDamaged, found, p.Digest)
	}
	return nil
}

// Open decrypts the part into v. The error is trust.ErrPassphrase or ErrDamaged.
func (p SealedPart) Open(v any, pass []byte) error {
	plain, err := trust.Unseal(p.Secret, pass)
	if err != nil {
		return err
	}
	if json.Unmarshal(plain, v) != nil { // its error could quote a secret
		return fmt.Errorf("%w: its secret part does not parse", ErrDamaged)
	}
	return nil
}

// State is the state of a cluster, verified.
type State struct {
	StateHeader
	// Files has the content of the files of the state directory by name.
	Files map[string][]byte `json:"files"`
	// Copy is a SealedState, the copy on the control planes (see Credentials.SealCopy);
	// empty if they have none.
	Copy []byte `json:"copy,omitempty"`
}

// Format redacts the keys.
func (s *State) Format(f fmt.State, verb rune) { trust.Secret(nil).Format(f, verb) }

// ReadState reads the state in the directory dir, which it leaves as it is, of a cluster
// with that name. The error is ErrDamaged if anything is missing or does not fit.
func ReadState(dir, cluster string) (*State, error) {
	d, err := openDir(dir, true)
	if err != nil {
		return nil, err
	}
	s, err := d.state(cluster)
	if err != nil {
		return nil, fmt.Errorf("state directory %q: %w", dir, err)
	}
	return s, nil
}

func (d stateDir) state(cluster string) (*State, error) {
	names, err := d.names()
	if err != nil {
		return nil, err
	}
	s := &State{Files: map[string][]byte{}}
	for _, name := range names {
		if s.Files[name], err = d.read(name); err != nil {
			return nil, err
		}
	}
	if s.Copy, err = d.read(CopyFile); err != nil {
		return nil, err
	}
	uid, err := d.uid()
	if err != nil {
		return nil, err
	}
	if uid != "" {
		s.Files[uidFile] = []byte(uid + "\n")
	}
	id, err := d.identity()
	if err != nil {
		return nil, err
	}
	s.StateHeader = StateHeader{Cluster: cluster, UID: uid, Identity: id, Content: contentOf(s.Files)}
	return s, s.verify()
}

// contentOf returns the digest of files.
func contentOf(files map[string][]byte) digest.Digest {
	b, _ := json.Marshal(files) // sorted; cannot fail
	return digest.FromBytes(b)
}

// Seal encrypts the state. Each call gives another output.
func (s *State) Seal(pass []byte) ([]byte, error) {
	part, err := SealPart(*s, pass)
	if err != nil {
		return nil, fmt.Errorf("seal state: %w", err)
	}
	b, err := json.Marshal(SealedState{APIVersion: manifests.APIVersion, Kind: kindState, StateHeader: s.StateHeader, SealedPart: part})
	return append(b, '\n'), err
}

// ParseSealed parses the output of Seal. The error is ErrDamaged.
func ParseSealed(b []byte) (*SealedState, error) {
	var s SealedState
	if err := strict.DecodeJSON(b, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if s.APIVersion != manifests.APIVersion || s.Kind != kindState {
		return nil, fmt.Errorf("%w: found apiVersion %q and kind %q, want %q and %q", ErrDamaged, s.APIVersion, s.Kind, manifests.APIVersion, kindState)
	}
	return &s, s.Verify()
}

// Open decrypts and verifies the state. The error is trust.ErrPassphrase or ErrDamaged.
func (s *SealedState) Open(pass []byte) (*State, error) {
	var st State
	if err := s.SealedPart.Open(&st, pass); err != nil {
		return nil, err
	}
	if st.StateHeader != s.StateHeader {
		return nil, fmt.Errorf("%w: what is readable without the passphrase was altered", ErrDamaged)
	}
	return &st, st.verify()
}

// verify checks that the state is complete and that everything in it fits together.
func (s *State) verify() error {
	d := stateDir{memory: map[string]trust.Secret{}}
	for name, b := range s.Files {
		if !isState(name) {
			return fmt.Errorf("%w: unexpected file %q", ErrDamaged, name)
		}
		d.memory[name] = b
	}
	missing, err := d.missing()
	if err == nil && len(s.Files) == 0 {
		err = errors.New("it is empty")
	}
	if len(missing) > 0 {
		err = fmt.Errorf("%s is missing", strings.Join(missing, ", "))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if found := contentOf(s.Files); found != s.Content {
		return fmt.Errorf("%w: its files have the digest %s, want %s", ErrDamaged, found, s.Content)
	}
	if found, err := d.identity(); err != nil || found != s.Identity {
		return fmt.Errorf("%w: its identity is %q, want %q (%w)", ErrDamaged, found, s.Identity, err)
	}
	if err := errors.Join(d.verifyPairs(), d.verifyServiceAccount()); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if !bytes.Contains(s.Files[encryptionFile], []byte("kind: EncryptionConfiguration\n")) {
		return fmt.Errorf("%w: %q is no EncryptionConfiguration", ErrDamaged, encryptionFile)
	}
	return nil
}

// verifyPairs checks that every certificate has its key, and that an authority of the
// state signed it.
func (d stateDir) verifyPairs() error {
	var cas []*x509.Certificate
	for _, ca := range authorities() {
		p, err := d.readPair(caName(ca))
		if err != nil {
			return err
		}
		cert, _, err := parsePair(p)
		if err != nil {
			return fmt.Errorf("authority %q: %w", caName(ca), err)
		}
		cas = append(cas, cert)
	}
	for _, file := range slices.Sorted(maps.Keys(d.memory)) {
		name, ok := strings.CutSuffix(file, ".crt")
		if !ok {
			continue
		}
		p, err := d.readPair(name)
		if err != nil {
			return err
		}
		cert, _, err := parsePair(p)
		if err != nil {
			return fmt.Errorf("credential %q: %w", name, err)
		}
		if !slices.ContainsFunc(cas, func(ca *x509.Certificate) bool { return cert.CheckSignatureFrom(ca) == nil }) {
			return fmt.Errorf("credential %q: no authority of the cluster signed it", name)
		}
	}
	return nil
}

func (d stateDir) verifyServiceAccount() error {
	key, _ := pem.Decode(d.memory[serviceAccountFile+".key"])
	pub, _ := pem.Decode(d.memory[serviceAccountFile+".pub"])
	if key == nil || pub == nil {
		return errors.New("the key pair of service account tokens is not PEM")
	}
	k, err1 := x509.ParseECPrivateKey(key.Bytes)
	p, err2 := x509.ParsePKIXPublicKey(pub.Bytes)
	if err1 != nil || err2 != nil {
		return errors.New("the key pair of service account tokens does not parse")
	}
	if want, ok := p.(*ecdsa.PublicKey); !ok || !k.PublicKey.Equal(want) {
		return errors.New("the key pair of service account tokens does not match")
	}
	return nil
}

// Write writes the state into the directory dir and returns the names of the files that
// changed, sorted. A newer certificate of the same cluster stays; the error is
// ErrOtherState if dir has anything of another one.
func (s *State) Write(dir string) ([]string, error) {
	if err := s.verify(); err != nil {
		return nil, err
	}
	d, err := openDir(dir, false)
	if err != nil {
		return nil, err
	}
	for _, name := range append(irreplaceable(), uidFile) {
		have, err := d.read(name)
		if err != nil {
			return nil, err
		}
		if have != nil && !bytes.Equal(have, s.Files[name]) {
			return nil, fmt.Errorf("%w: %q in %q differs", ErrOtherState, name, dir)
		}
	}
	want := stateDir{memory: map[string]trust.Secret{}}
	for name, b := range s.Files {
		want.memory[name] = b
	}
	if len(s.Copy) > 0 {
		want.memory[CopyFile] = s.Copy
	}
	return want.copyTo(d)
}

// copyTo writes the files in memory to d and returns the names of those that changed,
// sorted. A certificate that d has stays if it ends later. A key is written before its
// certificate, as writePair does.
func (d stateDir) copyTo(to stateDir) (changed []string, err error) {
	names := slices.SortedFunc(maps.Keys(d.memory), func(a, b string) int {
		return cmp.Or(strings.Compare(filepath.Ext(b), filepath.Ext(a)), strings.Compare(a, b)) // .key, then .crt
	})
	keep := map[string]bool{}
	for _, name := range names {
		if base, ok := strings.CutSuffix(name, ".crt"); ok && d.olderThan(to, base) {
			keep[name], keep[base+".key"] = true, true
		}
	}
	for _, name := range names {
		have, err := to.read(name)
		if err != nil {
			return nil, err
		}
		if keep[name] || bytes.Equal(have, d.memory[name]) {
			continue
		}
		if err := to.write(name, d.memory[name]); err != nil {
			return nil, err
		}
		changed = append(changed, name)
	}
	slices.Sort(changed)
	return changed, nil
}

// olderThan reports whether the intact credential name in other ends later than that in d.
func (d stateDir) olderThan(other stateDir, name string) bool {
	theirs, err := other.readPair(name)
	if err != nil || theirs.cert == nil {
		return false
	}
	ours, err := d.readPair(name)
	if err != nil {
		return false
	}
	a, _, err1 := parsePair(ours)
	b, _, err2 := parsePair(theirs)
	return err1 == nil && err2 == nil && b.NotAfter.After(a.NotAfter)
}
