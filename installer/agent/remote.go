package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Limits on unverified responses of a mirror, in bytes.
const (
	maxIndex    = 8 << 20
	maxDocument = 64 << 20
)

// How slowly a mirror may send: a mirror that stalls must not hold the agent, and with
// it the lock of the host. Tests replace them.
var (
	documentPace = reader.Pace{Bytes: 64 << 10, Within: 30 * time.Second, Total: 10 * time.Minute}
	filePace     = reader.Pace{Bytes: 64 << 10, Within: 30 * time.Second, Total: 6 * time.Hour}
)

// MirrorConnections is the number of requests to a mirror at the same time that need no
// new connections.
const MirrorConnections = 8

// cacheDir keeps documents of the bundle for the next stage. Every use verifies them.
const cacheDir = StateDir + "/bundle"

// historiesFile has the histories of keys that the host has seen.
const historiesFile = StateDir + "/keys.json"

// RemoteBundle is a verified bundle on a mirror.
type RemoteBundle struct {
	Bundle // with the histories of keys that were seen, those of the bundle among them
	Lock   *manifests.Lock
	// OpenPGPKey is the armoured key of the repository metadata.
	OpenPGPKey []byte

	mirrors
	signer trust.PublicKey
	env    *step.Env                            // with the cache; nil on the operator's side
	files  map[digest.Digest]manifests.Artifact // by plain digest
	images map[digest.Digest]bool               // indexes and manifests in the Lock
	has    sync.Map                             // paths for which Has returned nil
}

// OpenRemote verifies the bundle of a mirror from its signature down to the Lock. If
// Bundle.Root is empty, it accepts any bundle that the keys signed. It returns an
// ErrVerify, an ErrPolicy or a network error.
func OpenRemote(ctx context.Context, b Bundle, e Endpoint) (*RemoteBundle, error) {
	return openRemote(ctx, nil, b, e)
}

func openRemote(ctx context.Context, env *step.Env, b Bundle, e Endpoint) (*RemoteBundle, error) {
	anchors, err := anchorsOf(env, b)
	if err != nil {
		return nil, err
	}
	c := &RemoteBundle{Bundle: b, env: env, files: map[digest.Digest]manifests.Artifact{}, images: map[digest.Digest]bool{}}
	if err := c.Use(e); err != nil {
		return nil, err
	}
	index, err := c.verifiedIndex(ctx, anchors)
	if err != nil {
		return nil, err
	}
	var readErr error // may be the network's, unlike the other errors of ReadLock
	var config bundle.Config
	c.Lock, c.OpenPGPKey, config, err = bundle.ReadLock(index, func(d ocispec.Descriptor) (b []byte, err error) {
		b, readErr = c.blob(ctx, d)
		return b, readErr
	})
	if readErr != nil {
		return nil, readErr
	}
	if err != nil {
		return nil, fmt.Errorf("%w: bundle on the mirror: %w", ErrVerify, err)
	}
	if err := c.checkSigner(anchors, config.History); err != nil {
		return nil, err
	}
	for _, a := range c.Lock.Artifacts {
		if a.Kind == manifests.KindImage {
			c.images[a.Blob.Digest] = true
		}
		if a.Kind != manifests.KindFile {
			continue
		}
		if a.Plain.Digest == "" {
			a.Plain = a.Blob
		}
		c.files[a.Plain.Digest] = a
	}
	return c, nil
}

func (c *RemoteBundle) read(ctx context.Context, path string, limit int64) ([]byte, error) {
	r, err := c.send(ctx, http.MethodGet, path, documentPace)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(reader.Limit(r, limit))
	if errors.Is(err, reader.ErrTooLarge) {
		err = fmt.Errorf("mirror: %q: %w: %w", path, ErrVerify, err)
	}
	return b, err
}

// anchorsOf returns the keys to trust, with the histories that the operator and the host
// have seen.
func anchorsOf(env *step.Env, b Bundle) (a trust.Anchors, err error) {
	if a.Keys, err = trust.ParsePublicKeys([]byte(b.PublicKeys)); err != nil {
		return a, fmt.Errorf("%w: bundle key: %w", ErrPolicy, err)
	}
	var kept []byte
	if env != nil {
		if kept, err = env.ReadFile(historiesFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return a, err
		}
	}
	for _, text := range [][]byte{kept, []byte(b.Histories)} {
		list, err := trust.DecodeHistories(text)
		if err != nil {
			return a, fmt.Errorf("%w: %w", ErrVerify, err)
		}
		for _, h := range list {
			if a, err = a.See(h); err != nil {
				return a, fmt.Errorf("%w: %w", ErrVerify, err)
			}
		}
	}
	return a, nil
}

// verifiedIndex returns index.json from the cache or the mirror, after it has checked
// the signature and the digest. It sets Root and signer.
func (c *RemoteBundle) verifiedIndex(ctx context.Context, a trust.Anchors) ([]byte, error) {
	index, errI := c.cacheGet("index.json")
	sig, errS := c.cacheGet("index.json.sig")
	if errI == nil && errS == nil && c.checkIndex(ctx, index, sig, a) == nil {
		return index, nil
	}
	index, err := c.read(ctx, "/bundle/index.json", maxIndex)
	if err != nil {
		return nil, err
	}
	if sig, err = c.read(ctx, "/bundle/index.json.sig", 4096); err != nil {
		return nil, err
	}
	if err := c.checkIndex(ctx, index, sig, a); err != nil {
		return nil, err
	}
	if err := c.cachePut("index.json", index); err != nil {
		return nil, err
	}
	return index, c.cachePut("index.json.sig", sig)
}

func (c *RemoteBundle) checkIndex(ctx context.Context, index, sig []byte, a trust.Anchors) (err error) {
	c.signer, _, err = bundle.VerifyIndex(index, sig, a, func(d ocispec.Descriptor) ([]byte, error) { return c.fetch(ctx, d) })
	if err != nil {
		class := ErrVerify
		if errors.Is(err, trust.ErrUnsigned) || errors.Is(err, trust.ErrNoKey) {
			class = ErrPolicy
		}
		return fmt.Errorf("bundle on the mirror: %w: %w", class, err)
	}
	got := digest.FromBytes(index)
	if c.Root != "" && got != c.Root {
		return fmt.Errorf("%w: the mirror serves the bundle %s, the operator wants %s", ErrVerify, got, c.Root)
	}
	c.Root = got
	return nil
}

// checkSigner refuses a signer that was revoked, and keeps the histories of keys, with h.
func (c *RemoteBundle) checkSigner(a trust.Anchors, h trust.History) error {
	a, err := a.See(h)
	if err != nil {
		return fmt.Errorf("bundle on the mirror: %w: %w", ErrVerify, err)
	}
	if err := a.Refuse(c.signer, time.Now()); err != nil {
		return fmt.Errorf("bundle on the mirror: %w: %w", ErrPolicy, err)
	}
	c.Histories = ""
	if len(a.Histories) == 0 {
		return nil
	}
	text, err := trust.EncodeHistories(a.Histories)
	c.Histories = string(text)
	return err
}

// keepHistories stores the histories of keys on the host, so that a mirror cannot make it
// forget that a key was revoked.
func (c *RemoteBundle) keepHistories() error {
	kept, err := c.env.ReadFile(historiesFile)
	if c.Histories == "" || err == nil && string(kept) == c.Histories {
		return nil
	}
	return durable.WriteFile(c.env.Path(historiesFile), []byte(c.Histories), 0o600)
}

// blob returns a small blob from the cache or the mirror, after it has verified it.
func (c *RemoteBundle) blob(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	if err := d.Digest.Validate(); err != nil || d.Size < 0 || d.Size > maxDocument {
		return nil, fmt.Errorf("%w: descriptor %s of %d bytes", ErrVerify, d.Digest, d.Size)
	}
	name := d.Digest.Algorithm().String() + "-" + d.Digest.Encoded()
	if b, err := c.cacheGet(name); err == nil && reader.VerifyBytes(b, d.Digest, d.Size) == nil {
		return b, nil
	}
	b, err := c.fetch(ctx, d)
	if err != nil {
		return nil, err
	}
	return b, c.cachePut(name, b)
}

// fetch returns a small blob from the mirror, after it has verified it.
func (c *RemoteBundle) fetch(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	path := blobPath(d.Digest)
	b, err := c.read(ctx, path, d.Size)
	if err != nil {
		return nil, err
	}
	if err := reader.VerifyBytes(b, d.Digest, d.Size); err != nil {
		return nil, fmt.Errorf("mirror: %q: %w: %w", path, ErrVerify, err)
	}
	return b, nil
}

// cachePut stores a verified document on the host.
func (c *RemoteBundle) cachePut(name string, b []byte) error {
	if c.env == nil {
		return nil
	}
	if err := os.MkdirAll(c.env.Path(cacheDir), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(c.env.Path(cacheDir+"/"+name), b, 0o600)
}

// cacheGet returns a document that cachePut stored; the caller must verify it again.
func (c *RemoteBundle) cacheGet(name string) ([]byte, error) {
	if c.env == nil {
		return nil, os.ErrNotExist
	}
	return c.env.ReadFile(cacheDir + "/" + name)
}

// Has returns an error if the mirror does not have path, "/files/linux/amd64/kubelet". It
// does not ask again for a path that was there.
func (c *RemoteBundle) Has(ctx context.Context, path string) error {
	if _, ok := c.has.Load(path); ok {
		return nil
	}
	r, err := c.send(ctx, http.MethodHead, path, documentPace)
	if err != nil {
		return err
	}
	c.has.Store(path, true)
	return r.Close()
}

// open implements step.Env.Fetch.
func (c *RemoteBundle) open(ctx context.Context, plain digest.Digest) (io.ReadCloser, error) {
	a, ok := c.files[plain]
	if !ok {
		return nil, fmt.Errorf("%w: %s is not in the bundle's Lock", ErrVerify, plain)
	}
	// Without Accept-Encoding the mirror decodes compressed files.
	r, err := c.send(ctx, http.MethodGet, "/"+a.Group+"/"+a.Path, filePace)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{reader.Verify(r, plain, a.Plain.Size), r}, nil
}

// openImage implements step.Env.FetchImage.
func (c *RemoteBundle) openImage(ctx context.Context, image, part digest.Digest) (io.ReadCloser, error) {
	if !c.images[image] {
		return nil, fmt.Errorf("%w: image %s is not in the bundle's Lock", ErrVerify, image)
	}
	if err := part.Validate(); err != nil {
		return nil, fmt.Errorf("%w: part %q of image %s: %w", ErrVerify, part, image, err)
	}
	return c.send(ctx, http.MethodGet, blobPath(part), filePace)
}

func blobPath(d digest.Digest) string {
	return "/bundle/blobs/" + d.Algorithm().String() + "/" + d.Encoded()
}
