package bundle

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/reader"
)

// library is a store of image documents.
type library map[digest.Digest]string

func (l library) put(mediaType, doc string) ocispec.Descriptor {
	d := digest.FromString(doc)
	l[d] = doc
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(doc))}
}

func (l library) read(d ocispec.Descriptor) ([]byte, error) {
	doc, ok := l[d.Digest]
	if !ok {
		return nil, fmt.Errorf("%s is missing", d.Digest)
	}
	return []byte(doc), reader.VerifyBytes([]byte(doc), d.Digest, d.Size)
}

const (
	docIndex    = ocispec.MediaTypeImageIndex
	docManifest = ocispec.MediaTypeImageManifest
)

func list(children ...ocispec.Descriptor) string {
	var items []string
	for _, d := range children {
		items = append(items, ref(d))
	}
	return `{"schemaVersion":2,"manifests":[` + strings.Join(items, ",") + `]}`
}

func ref(d ocispec.Descriptor) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, d.MediaType, d.Digest, d.Size)
}

func TestAddImage(t *testing.T) {
	l := library{}
	blob := ocispec.Descriptor{MediaType: "x", Digest: digest.FromString("layer"), Size: 5}
	config := ocispec.Descriptor{MediaType: "x", Digest: digest.SHA512.FromString("config"), Size: 6}
	good := fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s,%s]}`, ref(config), ref(blob), ref(blob))
	manifest := l.put(docManifest, good)
	gone := digest.FromString("gone")
	absent := ocispec.Descriptor{MediaType: docManifest, Digest: gone, Size: 4}
	other := l.put(docManifest, strings.Replace(good, `"size":5`, `"size":6`, 1))
	deep := manifest
	for range image.MaxDepth {
		deep = l.put(docIndex, list(deep))
	}
	digestRef := func(d string) string { return `{"schemaVersion":2,"config":{"digest":"` + d + `","size":1}}` }
	tests := []struct {
		name  string
		root  ocispec.Descriptor
		gone  []digest.Digest
		blobs int
		text  string // of the error
	}{
		{"manifest", manifest, nil, 3, ""},
		{"docker manifest", l.put(image.MediaTypeDockerManifest, good), nil, 3, ""},
		{"docker list", l.put(image.MediaTypeDockerIndex, list(manifest)), nil, 4, ""},
		{"index with the same child twice", l.put(docIndex, list(manifest, manifest)), nil, 4, ""},
		{"index with an absent child", l.put(docIndex, list(manifest, absent)), []digest.Digest{gone}, 4, ""},
		{"empty index", l.put(docIndex, list()), nil, 1, ""},
		{"absent child not listed", l.put(docIndex, list(manifest, absent)), nil, 0, "is missing"},
		{"listed as absent but not named", manifest, []digest.Digest{gone}, 0, "no index names it"},
		{"too deep", deep, nil, 0, "nested deeper"},
		{"one digest, two sizes", l.put(docIndex, list(manifest, other)), nil, 0, "has size"},
		{"path as digest", l.put(docManifest, digestRef("sha256:../../x")), nil, 0, "digest"},
		{"huge document", l.put(docManifest, good+strings.Repeat(" ", image.MaxSize)), nil, 0, "allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newBlobSet(l.read)
			err := c.addImage(ImageEntry{Name: "x", Descriptor: tt.root, Absent: tt.gone})
			if tt.text != "" {
				if err == nil || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got %v, want %q", err, tt.text)
				}
				return
			}
			if err != nil || len(c.blobs) != tt.blobs {
				t.Errorf("%d blobs, want %d: %v", len(c.blobs), tt.blobs, err)
			}
		})
	}
}
