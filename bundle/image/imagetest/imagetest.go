// Package imagetest has made-up documents of images, for tests.
package imagetest

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/reader"
)

// Library is a store of image documents.
type Library map[digest.Digest]string

// Put adds a document.
func (l Library) Put(mediaType, doc string) ocispec.Descriptor {
	d := digest.FromString(doc)
	l[d] = doc
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(doc))}
}

// Read returns a document. It fails if it is missing, or has not the size of the descriptor;
// a size of 0 is not checked.
func (l Library) Read(d ocispec.Descriptor) ([]byte, error) {
	doc, ok := l[d.Digest]
	if !ok {
		return nil, fmt.Errorf("%s is missing", d.Digest)
	}
	return []byte(doc), reader.VerifyBytes([]byte(doc), d.Digest, cmp.Or(d.Size, int64(len(doc))))
}

// List returns an index of children.
func List(children ...ocispec.Descriptor) string {
	var items []string
	for _, d := range children {
		items = append(items, Ref(d))
	}
	return `{"schemaVersion":2,"manifests":[` + strings.Join(items, ",") + `]}`
}

// Ref returns a descriptor as documents have it.
func Ref(d ocispec.Descriptor) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, d.MediaType, d.Digest, d.Size)
}

// Config returns an image manifest with a config of this digest, and no layers.
func Config(d string) string {
	return `{"schemaVersion":2,"config":{"digest":"` + d + `","size":1}}`
}

var (
	layer  = ocispec.Descriptor{MediaType: "x", Digest: digest.FromString("layer"), Size: 5}
	config = ocispec.Descriptor{MediaType: "x", Digest: digest.SHA512.FromString("config"), Size: 6}
)

// Good is a manifest of three blobs, of which two are the same.
var Good = fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s,%s]}`, Ref(config), Ref(layer), Ref(layer))
