package bundle

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/image"

	"github.com/offk8s/offk8s/bundle/image/imagetest"
)

const (
	docIndex    = ocispec.MediaTypeImageIndex
	docManifest = ocispec.MediaTypeImageManifest
)

func TestAddImage(t *testing.T) {
	l := imagetest.Library{}
	manifest := l.Put(docManifest, imagetest.Good)
	gone := digest.FromString("gone")
	absent := ocispec.Descriptor{MediaType: docManifest, Digest: gone, Size: 4}
	other := l.Put(docManifest, strings.Replace(imagetest.Good, `"size":5`, `"size":6`, 1))
	deep := manifest
	for range image.MaxDepth {
		deep = l.Put(docIndex, imagetest.List(deep))
	}
	tests := []struct {
		name  string
		root  ocispec.Descriptor
		gone  []digest.Digest
		blobs int
		text  string // of the error
	}{
		{"manifest", manifest, nil, 3, ""},
		{"docker manifest", l.Put(image.MediaTypeDockerManifest, imagetest.Good), nil, 3, ""},
		{"docker list", l.Put(image.MediaTypeDockerIndex, imagetest.List(manifest)), nil, 4, ""},
		{"index with the same child twice", l.Put(docIndex, imagetest.List(manifest, manifest)), nil, 4, ""},
		{"index with an absent child", l.Put(docIndex, imagetest.List(manifest, absent)), []digest.Digest{gone}, 4, ""},
		{"empty index", l.Put(docIndex, imagetest.List()), nil, 1, ""},
		{"absent child not listed", l.Put(docIndex, imagetest.List(manifest, absent)), nil, 0, "is missing"},
		{"listed as absent but not named", manifest, []digest.Digest{gone}, 0, "no index names it"},
		{"too deep", deep, nil, 0, "nested deeper"},
		{"one digest, two sizes", l.Put(docIndex, imagetest.List(manifest, other)), nil, 0, "has size"},
		{"path as digest", l.Put(docManifest, imagetest.Config("sha256:../../x")), nil, 0, "digest"},
		{"huge document", l.Put(docManifest, imagetest.Good+strings.Repeat(" ", image.MaxSize)), nil, 0, "allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newBlobSet(l.Read)
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
