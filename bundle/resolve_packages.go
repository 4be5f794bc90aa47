package bundle

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/bundle/apt"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/bundle/yum"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// packages closes the dependencies of every distro over every architecture.
func (r *resolver) packages() {
	client, err := withHostArchives(r.o.Client, r.lock, r.o.HostRoot)
	if err != nil {
		r.fail("apt sources", err)
		return
	}
	for _, name := range r.lock.Distros {
		d := r.lock.DistroData[name]
		arches := distroArches(d, r.lock.Arches)
		for _, arch := range r.lock.Arches {
			if !slices.Contains(arches, arch) {
				r.o.Log.Warn("distribution has no packages for this architecture", "distro", name, "arch", arch)
			}
		}
		for _, arch := range arches {
			task := r.o.Progress.Start(fmt.Sprintf("packages of %s (linux/%s)", name, arch), 0)
			err := r.closeOver(client, d, arch)
			task.Done(err)
			if r.ctx.Err() != nil {
				return
			}
			if err != nil {
				r.fail("packages of "+name+" for "+arch, err)
			}
		}
	}
}

func (r *resolver) closeOver(client *fetch.Client, d catalog.Distro, arch string) error {
	names := sortedOr(append(slices.Clone(d.Packages), r.m.Packages...), nil)
	switch {
	case len(d.Yum) > 0:
		return r.closeYum(client, d, arch, names)
	case len(d.Apt) > 0:
		return r.closeApt(client, d, arch, names)
	}
	return errors.New("the catalog names no package source")
}

func (r *resolver) closeYum(client *fetch.Client, d catalog.Distro, arch string, names []string) error {
	yumArch := manifests.RPMArch(arch)
	var repos []*yum.Repo
	var errs []error
	for _, source := range d.Yum {
		keyring, err := keyringOf(d, source.KeyFiles)
		if err != nil {
			return err
		}
		repo, err := yum.ReadRepo(r.ctx, client, source, yumArch, keyring)
		errs = append(errs, err)
		repos = append(repos, repo)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	packages, err := yum.Closure(r.ctx, repos, names, yum.ClosureOptions{Arch: yumArch, Exclude: d.Exclude})
	if err != nil {
		return err
	}
	for _, p := range packages {
		r.add(manifests.Artifact{
			Kind: manifests.KindRPM, Name: p.Name, Version: p.EVR(), Platform: manifests.Platform(arch), Distro: d.Name,
			Group: manifests.YumGroup(d.Name, arch), Path: p.Path(), Mode: modeFile,
			Source: manifests.Source{URL: p.URL, Digest: p.Digest, Size: p.Size, Trust: manifests.TrustSignature},
		})
	}
	return nil
}

func (r *resolver) closeApt(client *fetch.Client, d catalog.Distro, arch string, names []string) error {
	var suites []*apt.Suite
	var errs []error
	signers := map[string]string{}
	for _, source := range d.Apt {
		keyring, err := keyringOf(d, source.KeyFiles)
		if err != nil {
			return err
		}
		suite, err := apt.ReadSuite(r.ctx, client, fetch.AptScheme+source.Archive, source, arch, keyring, apt.SuiteOptions{Now: r.lock.Created})
		if errors.Is(err, fetch.ErrNoArchive) {
			err = fmt.Errorf("%w; this machine's own apt is not that of %s: say where it is with a rewrite of %q",
				err, d.Name, fetch.AptScheme+source.Archive)
		}
		errs = append(errs, err)
		if err == nil {
			suites = append(suites, suite)
			signers[suite.Name] = suite.Signer
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	packages, err := apt.Closure(suites, names, apt.ClosureOptions{Arch: arch, Exclude: d.Exclude})
	if err != nil {
		return err
	}
	for _, p := range packages {
		r.addDeb(d, arch, p, signers[p.Suite])
	}
	return nil
}

// addDeb adds a package once: one of architecture "all" serves every platform.
func (r *resolver) addDeb(d catalog.Distro, arch string, p apt.Package, signer string) {
	a := manifests.Artifact{
		Kind: manifests.KindDeb, Name: p.Name, Version: p.Version, Platform: manifests.Platform(arch), Distro: d.Name,
		Group: manifests.AptGroup(d.Name), Path: p.Path(), Mode: modeFile,
		Source: manifests.Source{URL: p.URL, Digest: p.Digest, Size: p.Size, Trust: manifests.TrustSignature, Signer: signer},
	}
	if p.Arch == "all" {
		a.Platform = ""
	}
	same := func(b manifests.Artifact) bool {
		return b.Group == a.Group && b.Path == a.Path && b.Source.Digest == a.Source.Digest
	}
	if !slices.ContainsFunc(r.lock.Artifacts, same) {
		r.add(a)
	}
}

// keyringOf returns the keys of a package source.
func keyringOf(d catalog.Distro, files []string) (*trust.Keyring, error) {
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

// userKeyring is the name of a keyring that the Manifest brings.
const userKeyring = "keyring-of-manifest.asc"

// useKeyring adds the keys in the file at path to those that the catalog has for
// the sources of d: for a distribution that the catalog has no key of, or an
// in-house mirror that signs anew.
func useKeyring(d *catalog.Distro, path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if _, err := trust.ReadKeyring(b); err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	if !bytes.Contains(b, []byte("-----BEGIN PGP")) {
		b = armorKeys(b)
	}
	keys := map[string]string{userKeyring: string(b)}
	for name, key := range d.Keys {
		keys[name] = key
	}
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

// armorKeys makes text of a binary keyring, since a Lock is JSON. The checksum
// of RFC 4880 is left out, as RFC 9580 allows.
func armorKeys(b []byte) []byte {
	var out bytes.Buffer
	out.WriteString("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n")
	text := base64.StdEncoding.EncodeToString(b)
	for len(text) > 0 {
		n := min(64, len(text))
		out.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	out.WriteString("-----END PGP PUBLIC KEY BLOCK-----\n")
	return out.Bytes()
}

// withHostArchives adds the apt archives that no rewrite leads to and that the
// packing machine's own apt configuration knows, if it runs that distro.
func withHostArchives(client *fetch.Client, lock *manifests.Lock, root string) (*fetch.Client, error) {
	if root == "" {
		root = "/"
	}
	var more []manifests.Rewrite
	for _, name := range lock.Distros {
		d := lock.DistroData[name]
		for _, source := range d.Apt {
			if _, known := client.Archive(source.Archive); known || !runs(root, d) {
				continue
			}
			sources, err := apt.SourcesFromHost(root)
			if err != nil {
				return nil, err
			}
			if at, ok := apt.ArchiveURL(sources, source.Archive, source.Suite, source.Components); ok {
				more = append(more, manifests.Rewrite{From: fetch.AptScheme + source.Archive, To: at})
			}
		}
	}
	if len(more) == 0 {
		return client, nil
	}
	return client.With(more)
}

// runs reports whether the machine below root runs d.
func runs(root string, d catalog.Distro) bool {
	b, err := os.ReadFile(filepath.Join(root, "etc/os-release"))
	if err != nil {
		return false
	}
	found := catalog.ParseOSRelease(b)
	return found.ID == d.ID && found.Major() == d.Major
}

// keyringFor returns the keys that may have signed the package of an artifact:
// those of the repository below whose address it was.
func keyringFor(lock *manifests.Lock) func(*manifests.Artifact) (*trust.Keyring, error) {
	return func(a *manifests.Artifact) (*trust.Keyring, error) {
		d, ok := lock.DistroData[a.Distro]
		if !ok {
			return nil, fmt.Errorf("the lock has no data of distribution %q", a.Distro)
		}
		group, _ := manifests.ParseGroup(a.Group)
		for _, repo := range d.Yum {
			base := strings.TrimRight(strings.ReplaceAll(repo.BaseURL, "{arch}", group.Arch), "/") + "/"
			if strings.HasPrefix(a.Source.URL, base) {
				return keyringOf(d, repo.KeyFiles)
			}
		}
		return nil, fmt.Errorf("address %q is below no repository of %s", a.Source.URL, d.Name)
	}
}

// isSignature reports an error about a signature: made by nobody, by an unknown
// key, or over other bytes.
func isSignature(err error) bool {
	return errors.Is(err, trust.ErrUnsigned) || errors.Is(err, trust.ErrUnknownKey) || errors.Is(err, trust.ErrBadSignature)
}
