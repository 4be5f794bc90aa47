package upstreamtest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// WriteCatalog writes the overlay (for --catalog) that goes with u: digests of
// every component and of the images of the releases, and the key of the
// packages. Images of the pod networks and addons lose their digest, so that there are first uses.
func (u *Upstream) WriteCatalog(dir string) error {
	releases, err := u.releases()
	if err != nil {
		return err
	}
	for _, r := range releases {
		if err := write(filepath.Join(dir, "kubernetes", r.Minor+".yaml"), u.release(r)); err != nil {
			return err
		}
	}
	for _, name := range u.catalog.CNINames() {
		n, err := u.catalog.CNI(name)
		if err != nil {
			return err
		}
		roles := map[string]map[string]catalog.Image{}
		for _, r := range n.Releases {
			roles[r.From] = r.Images
		}
		if err := write(filepath.Join(dir, "cni", name, "cni.yaml"), unpinned(catalog.KindCNI, roles)); err != nil {
			return err
		}
	}
	for _, name := range u.catalog.AddonNames() {
		a, err := u.catalog.Addon(name)
		if err != nil {
			return err
		}
		roles := map[string]map[string]catalog.Image{}
		for _, r := range a.Releases {
			roles[r.From] = r.Images
		}
		if err := write(filepath.Join(dir, "addons", name, "addon.yaml"), unpinned(catalog.KindAddon, roles)); err != nil {
			return err
		}
	}
	for _, name := range u.catalog.DistroNames() {
		d, err := u.catalog.Distro(name)
		if err != nil {
			return err
		}
		for file := range d.Keys {
			if err := write(filepath.Join(dir, "keys", file), u.key.OpenPGPPublic); err != nil {
				return err
			}
		}
	}
	return nil
}

// Catalog returns the embedded catalog with the overlay of WriteCatalog, which
// it writes below dir.
func (u *Upstream) Catalog(dir string) (*catalog.Catalog, error) {
	if err := u.WriteCatalog(dir); err != nil {
		return nil, err
	}
	c, err := catalog.Embedded()
	if err != nil {
		return nil, err
	}
	return c, c.Overlay(dir)
}

func (u *Upstream) release(r catalog.Release) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\nversion: %q\ncomponents:\n", manifests.APIVersion, catalog.KindRelease, r.Version)
	for _, d := range r.Components {
		fmt.Fprintf(&b, "  - name: %s\n    version: %q\n    arches:\n", d.Name, d.Version)
		for _, arch := range slices.Sorted(maps.Keys(d.Arches)) {
			remote := d.Arches[arch]
			content, _ := u.File(remote.URL)
			pin := digest.FromBytes(content)
			if strings.HasPrefix(remote.Digest, "sha512:") {
				pin = digest.SHA512.FromBytes(content)
			}
			fmt.Fprintf(&b, "      %s: {url: %q, digest: %q}\n", arch, remote.URL, pin)
		}
	}
	fmt.Fprintf(&b, "images:\n")
	for _, role := range slices.Sorted(maps.Keys(r.Images)) {
		ref := r.Images[role].Ref
		fmt.Fprintf(&b, "  %s: {ref: %q, digest: %q}\n", role, ref, u.ImageDigest(ref))
	}
	return []byte(b.String())
}

// unpinned returns the overlay that takes the digests of the images away, given by the
// first minor of their release.
func unpinned(kind string, roles map[string]map[string]catalog.Image) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\nreleases:\n", manifests.APIVersion, kind)
	for _, from := range slices.Sorted(maps.Keys(roles)) {
		fmt.Fprintf(&b, "  - from: %q\n    images:\n", from)
		for _, role := range slices.Sorted(maps.Keys(roles[from])) {
			fmt.Fprintf(&b, "      %s: {digest: ~}\n", role)
		}
	}
	return []byte(b.String())
}

func write(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}
