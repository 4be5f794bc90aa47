package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// sourceKeyring returns the keys of a package source of d.
func sourceKeyring(d catalog.Distro, files []string) (*trust.Keyring, error) {
	var keys [][]byte
	for _, name := range files {
		key, ok := d.Keys[name]
		if !ok {
			return nil, fmt.Errorf("key %q of %s is not in the catalog", name, d.Name)
		}
		keys = append(keys, []byte(key))
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: no key is known for its packages: name a keyring for it", d.Name)
	}
	return trust.ReadKeyring(keys...)
}

// packageKeyring returns a function that returns the keys that may have signed
// a package: those of the repository that its source names, or whose URL contains
// the package's. It parses the keys of a repository once: that takes longer than to
// verify a package.
func packageKeyring(lock *manifests.Lock) func(*manifests.Artifact) (*trust.Keyring, error) {
	var mu sync.Mutex
	known := map[string]*trust.Keyring{} // by distribution and repository
	return func(a *manifests.Artifact) (*trust.Keyring, error) {
		d, ok := lock.DistroData[a.Distro]
		if !ok {
			return nil, fmt.Errorf("the lock has no data of distribution %q", a.Distro)
		}
		group, _ := manifests.ParseGroup(a.Group)
		for _, repo := range d.Yum {
			base := strings.TrimRight(strings.ReplaceAll(repo.BaseURL, "{arch}", group.Arch), "/") + "/"
			if a.Source.Repository == repo.ID || a.Source.Repository == "" && strings.HasPrefix(a.Source.URL, base) {
				mu.Lock()
				defer mu.Unlock()
				key := a.Distro + " " + repo.ID
				if k := known[key]; k != nil {
					return k, nil
				}
				k, err := sourceKeyring(d, repo.KeyFiles)
				if err == nil {
					known[key] = k
				}
				return k, err
			}
		}
		return nil, fmt.Errorf("address %q is not in a repository of %s", a.Source.URL, d.Name)
	}
}

// userKeyring is the name of the keyring from the Manifest.
const userKeyring = "keyring-of-manifest.asc"

// addUserKeyring adds the keys in the file at path to those of all sources of d,
// for a distribution whose keys are not in the catalog or an in-house mirror
// that signs packages again.
func addUserKeyring(d *catalog.Distro, path string) error {
	b, err := reader.ReadFile(path, maxDocument)
	if err != nil {
		return err
	}
	if _, err := trust.ReadKeyring(b); err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	if !bytes.Contains(b, []byte("-----BEGIN PGP")) {
		if b, err = trust.ArmorKeyring(b); err != nil {
			return fmt.Errorf("%q: %w", path, err)
		}
	}
	keys := maps.Clone(d.Keys)
	if keys == nil {
		keys = map[string]string{}
	}
	keys[userKeyring] = string(b)
	d.Keys = keys
	d.Yum, d.Apt = slices.Clone(d.Yum), slices.Clone(d.Apt)
	for i := range d.Yum {
		d.Yum[i].KeyFiles = append(slices.Clone(d.Yum[i].KeyFiles), userKeyring)
	}
	for i := range d.Apt {
		d.Apt[i].KeyFiles = append(slices.Clone(d.Apt[i].KeyFiles), userKeyring)
	}
	return nil
}

// isSignature reports whether err is about a signature that is missing, bad or
// from an unknown key.
func isSignature(err error) bool {
	return errors.Is(err, trust.ErrUnsigned) || errors.Is(err, trust.ErrUnknownKey) || errors.Is(err, trust.ErrBadSignature)
}
