package mirror

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/reader"
)

// maxManifest bounds a manifest or index that is read into memory.
const maxManifest = 64 << 20

// blobState is what is known of the bytes of a blob.
type blobState int32

const (
	unchecked blobState = iota
	good
	bad
)

// blob is one blob of a bundle, opened for reading.
type blob struct {
	digest digest.Digest
	name   string // what a person calls it, for messages
	data   *io.SectionReader
	file   *os.File // that data lies in; nil when in none
	state  atomic.Int32
	mu     sync.Mutex // held while the blob is hashed on demand
}

func (b *blob) known() blobState { return blobState(b.state.Load()) }

// collect opens every blob of the bundles, by digest. A blob that two bundles
// have is read from the first.
func collect(bundles []*opened) (map[digest.Digest]*blob, error) {
	all := make(map[digest.Digest]*blob)
	for _, b := range bundles {
		c := collector{bundle: b, all: all, names: make(map[digest.Digest]string)}
		for _, f := range b.Files() {
			c.names[f.Blob.Digest] = "/" + f.Group + "/" + f.Path
		}
		for _, img := range b.Images() {
			c.names[img.Descriptor.Digest] = img.Name
		}
		if err := c.index(b.HeadFile(bundle.MemberIndex), "bundle", 0); err != nil {
			return nil, fmt.Errorf("mirror: bundle %s: %w", b.Root(), err)
		}
	}
	return all, nil
}

// collector walks one bundle from its index.json.
type collector struct {
	bundle *opened
	all    map[digest.Digest]*blob
	names  map[digest.Digest]string
}

// descriptors are the parts of an index or a manifest that name blobs.
type descriptors struct {
	Config    *ocispec.Descriptor  `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
	Manifests []ocispec.Descriptor `json:"manifests"`
}

func (c *collector) index(body []byte, name string, depth int) error {
	const maxDepth = 5
	if depth > maxDepth {
		return fmt.Errorf("%s: indexes nested deeper than %d", name, maxDepth)
	}
	var list descriptors
	if err := json.Unmarshal(body, &list); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if list.Config != nil {
		list.Layers = append(list.Layers, *list.Config)
	}
	for _, d := range list.Layers {
		c.add(d.Digest, name)
	}
	for _, d := range list.Manifests {
		b := c.add(d.Digest, name)
		if b == nil {
			continue // a platform that was left out; bundle.Open knows which may be
		}
		body, err := b.read()
		if err != nil {
			return err
		}
		if err := c.index(body, b.name, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// add opens a blob; nil when the bundle lacks it.
func (c *collector) add(d digest.Digest, parent string) *blob {
	if b := c.all[d]; b != nil {
		return b
	}
	section, err := c.bundle.Blob(d)
	if err != nil {
		return nil
	}
	b := &blob{digest: d, name: c.names[d], data: section, file: c.bundle.file}
	if b.name == "" {
		b.name = fmt.Sprintf("%s (blob %s)", parent, d)
	}
	c.all[d] = b
	return b
}

// read returns the bytes of a manifest, checked.
func (b *blob) read() ([]byte, error) {
	if b.data.Size() > maxManifest {
		return nil, fmt.Errorf("%s: %d bytes, more than a manifest may have (%d)", b.name, b.data.Size(), maxManifest)
	}
	body := make([]byte, b.data.Size())
	if n, err := b.data.ReadAt(body, 0); n < len(body) {
		return nil, fmt.Errorf("%s: read: %w", b.name, err)
	}
	if err := reader.VerifyBytes(body, b.digest, b.data.Size()); err != nil {
		return nil, &bundle.ArtifactError{Op: "serve", Artifact: b.name, Err: fmt.Errorf("%w: %w", bundle.ErrVerify, err)}
	}
	return body, nil
}

// mismatch is the error of bytes with another digest than the index says.
func mismatch(got, want digest.Digest) error {
	return fmt.Errorf("%w: content has digest %s, the bundle says %s", bundle.ErrVerify, got, want)
}
