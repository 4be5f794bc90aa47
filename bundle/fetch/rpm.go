package fetch

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/apt"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/rpm"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/bundle/yum"
	"github.com/offk8s/offk8s/manifests"
)

// rpms fetches RPM packages and checks the digest of the repository's metadata,
// the vendor's signature, and the name in the package's header.
type rpms struct{ Env }

func (*rpms) Kind() manifests.ArtifactKind { return manifests.KindRPM }

func (r *rpms) Fetch(ctx context.Context, group []*manifests.Artifact, task Task) error {
	return r.fetchPackage(ctx, group, task, r.check)
}

func (r *rpms) check(a *manifests.Artifact, f *os.File, d manifests.Descriptor) error {
	keyring, err := r.Keyring(a)
	if err != nil {
		return err
	}
	file, err := rpm.Read(f, d.Size)
	if err != nil {
		return err
	}
	signer, err := trust.VerifyRPM(keyring, file)
	if err != nil {
		return err
	}
	if a.Source.Signer != "" && a.Source.Signer != signer {
		return &MismatchError{What: "signer", Found: signer, Want: a.Source.Signer}
	}
	meta, err := yum.FromHeader(file, d.Size, d.Digest, a.Path)
	if err != nil {
		return err
	}
	wantArch := manifests.RPMArch(a.Arch())
	want := yum.NEVRA{Name: a.Name, Arch: meta.Arch}
	if meta.Name != want.Name || meta.EVR() != a.Version || meta.Arch != wantArch && meta.Arch != "noarch" {
		return &MismatchError{What: "package", Found: meta.String(), Want: fmt.Sprintf("%s-%s for %s", a.Name, a.Version, wantArch)}
	}
	a.Source.Signer = signer
	r.Packages.addRPM(a, meta)
	return nil
}

// debs fetches Debian packages, which are not signed: the signed InRelease
// covers the Packages index, and that covers the digest in the Lock.
type debs struct{ Env }

func (*debs) Kind() manifests.ArtifactKind { return manifests.KindDeb }

func (d *debs) Fetch(ctx context.Context, group []*manifests.Artifact, task Task) error {
	return d.fetchPackage(ctx, group, task, d.check)
}

func (d *debs) check(a *manifests.Artifact, f *os.File, stored manifests.Descriptor) error {
	meta, err := apt.FromDeb(f, stored.Size, stored.Digest, a.Path)
	if err != nil {
		return err
	}
	arch := a.Arch()
	if meta.Name != a.Name || meta.Version != a.Version || meta.Arch != arch && meta.Arch != "all" {
		return &MismatchError{
			What: "package", Found: fmt.Sprintf("%s %s (%s)", meta.Name, meta.Version, meta.Arch),
			Want: fmt.Sprintf("%s %s (%s)", a.Name, a.Version, arch),
		}
	}
	d.Packages.addDeb(a, meta)
	return nil
}

// fetchPackage downloads a package, calls check for each artifact of it, and
// moves it into the store unchanged. check is called for packages of the store
// too, so that it does not matter how they came there.
func (e Env) fetchPackage(ctx context.Context, group []*manifests.Artifact, task Task, check func(*manifests.Artifact, *os.File, manifests.Descriptor) error) error {
	source := group[0].Source
	if source.Digest == "" {
		return fmt.Errorf("package %q has no digest in the lock", group[0].Path)
	}
	stored := manifests.Descriptor{MediaType: manifests.MediaTypeFile, Digest: source.Digest, Size: source.Size}
	if source.Digest.Algorithm() != digest.SHA256 || !e.intact(source.Digest) {
		var err error
		if stored, err = e.downloadPackage(ctx, source, task); err != nil {
			return err
		}
	}
	return e.complete(group, stored, check)
}

// complete calls check for each artifact of group, whose content is stored, and sets
// their descriptors.
func (e Env) complete(group []*manifests.Artifact, stored manifests.Descriptor, check func(*manifests.Artifact, *os.File, manifests.Descriptor) error) error {
	f, err := e.Store.Get(stored.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	stored.Size = fi.Size()
	for _, a := range group {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := check(a, f, stored); err != nil {
			return err
		}
		if err := fill(a, stored, stored); err != nil {
			return err
		}
	}
	return nil
}

// intact reports whether the store has d undamaged. Packages are parsed, so
// their name in the store is not enough.
func (e Env) intact(d digest.Digest) bool {
	f, err := e.Store.Get(d)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, reader.Verify(f, d, reader.AnySize))
	return err == nil
}

// downloadPackage downloads a package into the store under its sha256.
func (e Env) downloadPackage(ctx context.Context, source manifests.Source, task Task) (manifests.Descriptor, error) {
	part, err := e.partial(source.URL, source.Digest)
	if err != nil {
		return manifests.Descriptor{}, err
	}
	d := &download{client: e.Client, url: source.URL, want: source.Digest, size: source.Size, path: part, task: task}
	s, err := d.run(ctx)
	if err != nil {
		return manifests.Descriptor{}, err
	}
	stored := manifests.Descriptor{MediaType: manifests.MediaTypeFile, Digest: s.sha256, Size: s.size}
	return stored, e.Store.Import(part, stored)
}
