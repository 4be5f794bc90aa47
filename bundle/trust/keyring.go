package trust

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// maxKeyringSize bounds a key file in bytes; Debian's whole keyring is 55 KB.
const maxKeyringSize = 4 << 20

// Keyring is a set of OpenPGP public keys. The zero value trusts no key. It
// is safe for concurrent use.
type Keyring struct {
	entities openpgp.EntityList
	mu       sync.Mutex // go-crypto notes in the entities the signatures that it has verified
}

// ReadKeyring returns the keys of all files, each armoured (one or several
// blocks) or binary. A file without a usable key is an error.
func ReadKeyring(files ...[]byte) (*Keyring, error) {
	k := &Keyring{}
	for i, b := range files {
		entities, err := readKeys(b)
		if err != nil {
			return nil, fmt.Errorf("read keyring: file %d of %d: %w", i+1, len(files), err)
		}
		k.entities = append(k.entities, entities...)
	}
	return k, nil
}

// Fingerprints returns the primary fingerprints in upper-case hex, sorted.
func (k *Keyring) Fingerprints() []string {
	var out []string
	if k == nil {
		return out
	}
	for _, e := range k.entities {
		out = append(out, fingerprint(e))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Empty reports whether k has no keys. A nil Keyring is empty.
func (k *Keyring) Empty() bool { return k == nil || len(k.entities) == 0 }

func fingerprint(e *openpgp.Entity) string {
	return fmt.Sprintf("%X", e.PrimaryKey.Fingerprint)
}

// armorStart opens each block of an armoured key file.
const armorStart = "-----BEGIN PGP PUBLIC KEY BLOCK-----"

func readKeys(b []byte) (openpgp.EntityList, error) {
	if len(b) > maxKeyringSize {
		return nil, fmt.Errorf("%d bytes, limit %d", len(b), maxKeyringSize)
	}
	if !bytes.Contains(b, []byte(armorStart)) {
		return nonEmpty(openpgp.ReadKeyRing(bytes.NewReader(b)))
	}
	var all openpgp.EntityList
	for _, block := range strings.Split(string(b), armorStart)[1:] {
		entities, err := openpgp.ReadArmoredKeyRing(strings.NewReader(armorStart + block))
		if err != nil {
			return nil, err
		}
		all = append(all, entities...)
	}
	return nonEmpty(all, nil)
}

func nonEmpty(list openpgp.EntityList, err error) (openpgp.EntityList, error) {
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if e.PrivateKey != nil {
			return nil, errors.New("holds a private key, want public keys only")
		}
	}
	if len(list) == 0 {
		return nil, errors.New("no usable openpgp public key")
	}
	return list, nil
}

// signingKey returns the key with the given id that was allowed to sign at
// created. A key that is expired by now may have signed before; a key that is
// revoked for any reason is refused, since the date in a signature is only the
// signer's word. Key files often keep only the newest self-signature, made when
// the expiry was moved: then the key is judged at that time.
func (k *Keyring) signingKey(id uint64, created, now time.Time) (openpgp.Key, error) {
	config := verifyConfig()
	reason := fmt.Errorf("%w: key id %016X", ErrUnknownKey, id)
	if k == nil {
		return openpgp.Key{}, reason
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.entities.EntitiesById(id) {
		if revoked(e, id, now) {
			reason = fmt.Errorf("%w: key %s is revoked", ErrBadSignature, fingerprint(e))
			continue
		}
		key, ok := e.SigningKeyById(created, id, config)
		if !ok {
			self, err := e.PrimarySelfSignature(time.Time{}, config)
			if err == nil && self.CreationTime.After(created) {
				key, ok = e.SigningKeyById(self.CreationTime, id, config)
			}
		}
		if !ok || created.Before(key.PublicKey.CreationTime) {
			reason = fmt.Errorf("%w: key %s could not sign on %s: expired, not yet made or not a signing key",
				ErrBadSignature, fingerprint(e), created.UTC().Format(time.DateOnly))
			continue
		}
		return key, nil
	}
	return openpgp.Key{}, reason
}

// revoked reports whether the key with id, or its primary key, is revoked.
func revoked(e *openpgp.Entity, id uint64, now time.Time) bool {
	if e.Revoked(now) {
		return true
	}
	for i := range e.Subkeys {
		s := &e.Subkeys[i]
		if s.PublicKey.KeyId != id {
			continue
		}
		binding, err := s.LatestValidBindingSignature(now, verifyConfig())
		if err == nil && s.Revoked(binding, now) {
			return true
		}
	}
	return false
}
