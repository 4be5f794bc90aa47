package trust

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

const (
	keyFileKind = "KeyPair"
	// maxKeyFile bounds a key file in bytes; one with RSA-3072 has about 8 KB.
	maxKeyFile = 1 << 20

	protectScrypt = "scrypt-secretbox" // as Seal encrypts
	protectNone   = "none"
)

// keyFile is the content of offk8s.key. The public parts are there to be read
// without the passphrase and must equal those inside Secret.
type keyFile struct {
	APIVersion       string          `json:"apiVersion"`
	Kind             string          `json:"kind"`
	PublicKey        string          `json:"publicKey"`
	OpenPGPPublicKey string          `json:"openPGPPublicKey"`
	Protection       string          `json:"protection"`
	Secret           json.RawMessage `json:"secret"`
	// History needs no protection: its statements are signed.
	History History `json:"history,omitempty"`
}

// keySecret is the content of keyFile.Secret, encrypted or plain.
type keySecret struct {
	PKCS8         []byte `json:"pkcs8,omitempty"`  // the bundle key, unless it is elsewhere
	Public        []byte `json:"public,omitempty"` // then its public key, PEM
	OpenPGP       []byte `json:"openPGP"`
	OpenPGPPublic []byte `json:"openPGPPublic"`
}

// MarshalEncrypted returns the content of offk8s.key, encrypted with pass. If
// pass is empty, the content is not encrypted, and a field records that.
func (k *KeyPair) MarshalEncrypted(pass []byte) ([]byte, error) {
	content := keySecret{OpenPGP: k.OpenPGP, OpenPGPPublic: k.OpenPGPPublic}
	var err error
	if k.External() {
		content.Public = k.PublicPEM()
	} else if content.PKCS8, err = x509.MarshalPKCS8PrivateKey(k.ecdsa); err != nil {
		return nil, fmt.Errorf("encode key pair: %w", err)
	}
	secret, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode key pair: %w", err)
	}
	f := keyFile{
		APIVersion: manifests.APIVersion, Kind: keyFileKind,
		PublicKey: string(k.PublicPEM()), OpenPGPPublicKey: string(k.OpenPGPPublic),
		Protection: protectNone, Secret: secret, History: k.History,
	}
	if len(pass) > 0 {
		f.Protection = protectScrypt
		if f.Secret, err = Seal(secret, pass); err != nil {
			return nil, fmt.Errorf("encrypt key pair: %w", err)
		}
	}
	out, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode key pair: %w", err)
	}
	return append(out, '\n'), nil
}

// PublicParts returns the public keys in the content of offk8s.key, which are
// readable without the passphrase: that of bundles, and the armoured OpenPGP key of
// repositories. ParseKeyFile checks that they belong to the private keys. h is the history
// of the key; its statements are checked.
func PublicParts(b []byte) (k PublicKey, openPGP []byte, h History, err error) {
	var f keyFile
	if err := strict.DecodeJSON(b, &f); err != nil {
		return k, nil, nil, fmt.Errorf("not a key file: %w", err)
	}
	keys, err := ParsePublicKeys([]byte(f.PublicKey))
	if err == nil {
		_, err = f.History.Keys()
	}
	if err != nil {
		return k, nil, nil, fmt.Errorf("key file: %w", err)
	}
	return keys[0], []byte(f.OpenPGPPublicKey), f.History, nil
}

// isKeyFile reports whether b looks like the content of offk8s.key.
func isKeyFile(b []byte) bool {
	var f struct{ Kind string }
	return json.Unmarshal(b, &f) == nil && f.Kind == keyFileKind
}

// ParseKeyFile reads the content of offk8s.key. pass is called only if it is
// encrypted. The error is ErrPassphrase if the passphrase does not open it.
func ParseKeyFile(b []byte, pass func() ([]byte, error)) (*KeyPair, error) {
	var f keyFile
	if err := strict.DecodeJSON(b, &f); err != nil {
		return nil, fmt.Errorf("not a key file: %w", err)
	}
	if f.APIVersion != manifests.APIVersion || f.Kind != keyFileKind {
		return nil, fmt.Errorf("not a key file: apiVersion %q, kind %q", f.APIVersion, f.Kind)
	}
	plain := []byte(f.Secret)
	switch f.Protection {
	case protectNone:
	case protectScrypt:
		p, err := pass()
		if err != nil {
			return nil, fmt.Errorf("get passphrase: %w", err)
		}
		if plain, err = Unseal(f.Secret, p); err != nil {
			return nil, fmt.Errorf("%w, or a damaged key file", err)
		}
	default:
		return nil, fmt.Errorf("key file has protection %q, known are %q and %q", f.Protection, protectScrypt, protectNone)
	}
	return f.open(plain)
}

func (f keyFile) open(plain []byte) (*KeyPair, error) {
	// Decoding errors are not wrapped: they could quote the secret.
	var s keySecret
	if json.Unmarshal(plain, &s) != nil {
		return nil, errors.New("key file is damaged: its secret part does not parse")
	}
	k, err := s.pair()
	if err != nil {
		return nil, err
	}
	if string(k.PublicPEM()) != f.PublicKey || string(k.OpenPGPPublic) != f.OpenPGPPublicKey {
		return nil, errors.New("key file was altered: its public keys are not those of its private keys")
	}
	chain, err := f.History.Keys()
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	if n := len(chain); n > 0 && !chain[n-1].Equal(k.public) {
		return nil, fmt.Errorf("%w: %s came after %s", ErrReplaced, chain[n-1], k.public)
	}
	k.History = f.History
	return k, nil
}

func (s keySecret) pair() (*KeyPair, error) {
	if len(s.PKCS8) == 0 && len(s.Public) > 0 {
		keys, err := ParsePublicKeys(s.Public)
		if err != nil {
			return nil, fmt.Errorf("key file: %w", err)
		}
		return &KeyPair{public: keys[0], OpenPGP: s.OpenPGP, OpenPGPPublic: s.OpenPGPPublic, parsed: &parsedKey{}}, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(s.PKCS8)
	if err != nil {
		return nil, errors.New("key file is damaged: its bundle key does not parse")
	}
	ec, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key file holds a %T, expected ECDSA P-256", parsed)
	}
	k, err := newKeyPair(ec, s.OpenPGP, s.OpenPGPPublic)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	return k, nil
}

// AddHistory writes the history h into the key file at path, which stays as it is
// otherwise.
func AddHistory(path string, h History) error {
	b, err := reader.ReadFile(path, maxKeyFile)
	if err != nil {
		return err
	}
	var f keyFile
	if err := strict.DecodeJSON(b, &f); err != nil {
		return fmt.Errorf("key file %q: %w", path, err)
	}
	f.History = h
	out, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(path, append(out, '\n'), 0o600)
}

// LoadKeyFile reads offk8s.key. The file must be regular and closed to group
// and others. pass is called only when the file is encrypted.
func LoadKeyFile(path string, pass func() ([]byte, error)) (*KeyPair, error) {
	f, info, err := reader.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("%w: %q has mode %#o, expected 0600", ErrKeyMode, path, perm)
	}
	b, err := io.ReadAll(reader.Limit(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("key file %q: %w", path, err)
	}
	k, err := ParseKeyFile(b, pass)
	if err != nil {
		return nil, fmt.Errorf("key file %q: %w", path, err)
	}
	return k, nil
}

// SaveKeyFile writes offk8s.key with mode 0600 and syncs it. It never replaces
// a file: os.ErrExist.
func (k *KeyPair) SaveKeyFile(path string, pass []byte) error {
	b, err := k.MarshalEncrypted(pass)
	if err != nil {
		return err
	}
	return durable.Create(path, b, 0o600)
}
