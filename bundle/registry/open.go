package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

// pace is how slowly a registry may send a blob.
var pace = reader.Pace{Bytes: 64 << 10, Within: 30 * time.Second, Total: 6 * time.Hour}

// Tarball is a bundle in a registry as the tarball that was pushed. Its content comes from
// the registry through a cache when it is read; every blob is compared with its digest
// before a byte of it is returned. An error of ReadAt wraps reader.ErrUnavailable if the
// registry does not answer, and reader.ErrMismatch if it sent other bytes.
type Tarball struct {
	io.ReaderAt
	Size int64
	// Reference is the bundle in the registry, Manifest the digest of its manifest.
	Reference string
	Manifest  digest.Digest

	client *http.Client
	base   string // URL of the repository, ending in a slash
	cache  *Cache
	ctx    func() (context.Context, context.CancelFunc)
}

// Open reads which members the bundle at address has, "oci://harbor.example/offk8s", the
// one that was pushed last or "oci://harbor.example/offk8s@sha256:…" with that root. All
// downloads end when ctx is done.
func Open(ctx context.Context, address string, cache *Cache, o Options) (*Tarball, error) {
	p, err := parsePlace(address, o)
	if err != nil {
		return nil, err
	}
	repo := p.bundles()
	t := &Tarball{cache: cache, Reference: repo.Tag(p.tag()).String(), ctx: func() (context.Context, context.CancelFunc) { return context.WithCancel(ctx) }}
	auth, err := authn.Resolve(ctx, o.keychain(), repo)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", p, err)
	}
	tr, err := o.transport()
	if err != nil {
		return nil, err
	}
	if tr, err = transport.NewWithContext(ctx, repo.Registry, auth, tr, []string{repo.Scope(transport.PullScope)}); err != nil {
		return nil, unavailable(t.Reference, explain(ctx, err))
	}
	t.client = &http.Client{Transport: tr}
	// The transport replaces the scheme by the one that the registry answered.
	t.base = "https://" + repo.RegistryStr() + "/v2/" + repo.RepositoryStr() + "/"
	m, err := t.manifest(ctx, p.tag())
	if err != nil {
		return nil, err
	}
	return t, t.compose(m)
}

// Latest returns the digest of the manifest of the bundle at address, as Tarball.Manifest,
// without reading the bundle.
func Latest(ctx context.Context, address string, o Options) (digest.Digest, error) {
	p, err := parsePlace(address, o)
	if err != nil {
		return "", err
	}
	tr, err := o.transport()
	if err != nil {
		return "", err
	}
	tag := p.bundles().Tag(p.tag())
	d, err := remote.Head(tag, remote.WithContext(ctx), remote.WithTransport(tr), remote.WithAuthFromKeychain(o.keychain()))
	if err != nil {
		return "", unavailable(tag.String(), explain(ctx, err))
	}
	return digest.Digest(d.Digest.String()), nil
}

// Hold implements reader.Holder: a blob stays in the cache.
func (t *Tarball) Hold(ctx context.Context, off int64) (release func(), err error) {
	return reader.Hold(ctx, t.ReaderAt, off)
}

// compose describes the tarball that the layers of m are.
func (t *Tarball) compose(m ocispec.Manifest) error {
	var parts []tarfile.Part
	for _, d := range m.Layers {
		if err := image.Check(d.Digest, d.Size); err != nil {
			return fmt.Errorf("%s: %w: layer %s: %w", t.Reference, reader.ErrMismatch, d.Digest, err)
		}
		if d.Size > t.cache.limit {
			return fmt.Errorf("%s: %w: a blob of the bundle has %d bytes, the cache %d", t.Reference, ErrSmallCache, d.Size, t.cache.limit)
		}
		member := d.Annotations[annotationMember]
		if member == "" {
			member = ocispec.ImageBlobsDir + "/" + d.Digest.Algorithm().String() + "/" + d.Digest.Encoded()
		}
		parts = append(parts, tarfile.Part{Name: member, Size: d.Size, Content: blob{t, d.Digest, d.Size}})
	}
	var err error
	if t.ReaderAt, t.Size, err = tarfile.Compose(parts); err != nil {
		return fmt.Errorf("%s: %w: %w", t.Reference, reader.ErrMismatch, err)
	}
	return nil
}

// manifest returns the manifest of the bundle, which nothing vouches for.
func (t *Tarball) manifest(ctx context.Context, tag string) (m ocispec.Manifest, err error) {
	resp, err := t.get(ctx, "manifests/"+tag, ocispec.MediaTypeImageManifest)
	if answer, ok := errors.AsType[*transport.Error](err); ok && answer.StatusCode == http.StatusNotFound {
		return m, fmt.Errorf("%s: %w", t.Reference, ErrNoBundle)
	}
	if err != nil {
		return m, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(reader.Limit(resp.Body, maxManifest))
	if err != nil {
		return m, unavailable(t.Reference, err)
	}
	t.Manifest = digest.FromBytes(body)
	if err := strict.DecodeJSON(body, &m); err != nil || m.ArtifactType != manifests.ArtifactTypeTarball {
		return m, fmt.Errorf("%s: %w: found another artifact, of the type %q", t.Reference, ErrNoBundle, m.ArtifactType)
	}
	return m, nil
}

func (t *Tarball) get(ctx context.Context, path, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.base+path, nil)
	if err != nil {
		return nil, err
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, unavailable(t.Reference, err)
	}
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return nil, errors.Join(unavailable(t.Reference, explain(ctx, err)), resp.Body.Close())
	}
	return resp, nil
}

func unavailable(reference string, err error) error {
	if errors.Is(err, io.EOF) { // of the connection: no reader may take it for that of the blob
		return fmt.Errorf("%s: %w: %v", reference, reader.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w: %w", reference, reader.ErrUnavailable, err)
}

// fetch writes a blob to f and verifies it.
func (t *Tarball) fetch(d digest.Digest, size int64, f *os.File) error {
	parent, end := t.ctx()
	defer end()
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	resp, err := t.get(ctx, "blobs/"+d.String(), "")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(f, reader.Verify(reader.Paced(resp.Body, pace, cancel), d, size))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, reader.ErrMismatch):
		return fmt.Errorf("%s: blob %s: %w", t.Reference, d, err)
	}
	return unavailable(t.Reference, err)
}

// blob is the content of a member.
type blob struct {
	t      *Tarball
	digest digest.Digest
	size   int64
}

func (b blob) fetch(f *os.File) error { return b.t.fetch(b.digest, b.size, f) }

func (b blob) ReadAt(p []byte, off int64) (int, error) {
	return b.t.cache.readAt(b.digest, b.size, p, off, b.fetch)
}

// Hold implements reader.Holder: the blob stays in the cache.
func (b blob) Hold(ctx context.Context, _ int64) (release func(), err error) {
	e, err := b.t.cache.pin(ctx, b.digest, b.size, b.fetch)
	if err != nil {
		return nil, err
	}
	return func() { b.t.cache.unpin(e) }, nil
}

// IsAddress reports whether the name of a bundle is an address in a registry.
func IsAddress(s string) bool { return strings.HasPrefix(s, Scheme) }
