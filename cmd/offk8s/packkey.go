package main

import (
	"errors"
	"os"
	"time"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// signingKey loads the key, before the long work, because it may ask for a
// passphrase. It is nil when the default one is not there yet, or not needed.
func (a *app) signingKey(o packOptions) (*trust.KeyPair, error) {
	path := o.key
	if path == "" {
		path = defaultKey()
	}
	if o.dryRun {
		return nil, nil
	}
	k, err := trust.LoadKeyFile(path, func() ([]byte, error) { return o.pass.read(a, "passphrase of "+path+": ", false) })
	if errors.Is(err, os.ErrNotExist) {
		if o.key == "" {
			return nil, nil
		}
		err = withHint(usageError{err}, "offk8s keys generate -o %s makes one", path)
	}
	return k, err
}

// firstKey makes the default key on first use.
func (a *app) firstKey() (*trust.KeyPair, error) {
	path := defaultKey()
	k, err := generateKey(path, nil)
	if err != nil {
		return nil, err
	}
	a.say("note", "made the signing key %s (not encrypted); public key %s, fingerprint %s", path, publicPath(path), k.Fingerprint())
	return k, nil
}

// keyFits refuses a key that was made after the time of the Lock, as with an
// old Lock and a new key: OpenPGP knows no signature from before its key.
func keyFits(key *trust.KeyPair, lock *manifests.Lock) error {
	made, err := key.Made()
	if err != nil || !lock.Created.Before(made) {
		return err
	}
	return withHint(usagef("the signing key was made at %s, the Lock is of %s, before that",
		made.UTC().Format(time.RFC3339), lock.Created.UTC().Format(time.RFC3339)),
		"take the key that the Lock was packed with, or resolve anew: without --lock and SOURCE_DATE_EPOCH")
}
