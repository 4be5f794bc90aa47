package bundle

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

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
	return `{"manifests":[` + strings.Join(items, ",") + `]}`
}

func ref(d ocispec.Descriptor) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, d.MediaType, d.Digest, d.Size)
}

func TestImageClosure(t *testing.T) {
	l := library{}
	blob := ocispec.Descriptor{MediaType: "x", Digest: digest.FromString("layer"), Size: 5}
	config := ocispec.Descriptor{MediaType: "x", Digest: digest.SHA512.FromString("config"), Size: 6}
	good := fmt.Sprintf(`{"config":%s,"layers":[%s,%s]}`, ref(config), ref(blob), ref(blob))
	manifest := l.put(docManifest, good)
	gone := digest.FromString("gone")
	absent := ocispec.Descriptor{MediaType: docManifest, Digest: gone, Size: 4}
	other := l.put(docManifest, strings.Replace(good, `"size":5`, `"size":6`, 1))
	deep := manifest
	for range maxIndexDepth + 1 {
		deep = l.put(docIndex, list(deep))
	}
	digestRef := func(d string) string { return `{"config":{"digest":"` + d + `","size":1}}` }
	tests := []struct {
		name  string
		root  ocispec.Descriptor
		gone  []digest.Digest
		blobs int
		text  string // of the error
	}{
		{"manifest", manifest, nil, 3, ""},
		{"docker manifest", l.put(mediaTypeDockerManifest, good), nil, 3, ""},
		{"docker list", l.put(mediaTypeDockerList, list(manifest)), nil, 4, ""},
		{"index with the same child twice", l.put(docIndex, list(manifest, manifest)), nil, 4, ""},
		{"index with an absent child", l.put(docIndex, list(manifest, absent)), []digest.Digest{gone}, 4, ""},
		{"empty index", l.put(docIndex, list()), nil, 1, ""},
		{"absent child not listed", l.put(docIndex, list(manifest, absent)), nil, 0, "is missing"},
		{"listed as absent but not named", manifest, []digest.Digest{gone}, 0, "no index names it"},
		{"too deep", deep, nil, 0, "nest deeper"},
		{"one digest, two sizes", l.put(docIndex, list(manifest, other)), nil, 0, "has size"},
		{"unknown type", l.put("application/x", good), nil, 0, "unknown image media type"},
		{"schema 1", l.put("application/vnd.docker.distribution.manifest.v1+json", good), nil, 0, "unknown image media type"},
		{"another type inside", l.put(docManifest, strings.Replace(good, "{", `{"mediaType":"`+docIndex+`",`, 1)), nil, 0, "its descriptor says"},
		{"index with config", l.put(docIndex, strings.Replace(good, "{", `{"manifests":[],`, 1)), nil, 0, "index with config"},
		{"manifest with manifests", l.put(docManifest, strings.Replace(good, "{", `{"manifests":[],`, 1)), nil, 0, "or with manifests"},
		{"manifest without config", l.put(docManifest, `{"layers":[]}`), nil, 0, "without config"},
		{"path as digest", l.put(docManifest, digestRef("sha256:../../x")), nil, 0, "digest"},
		{"no digest", l.put(docManifest, digestRef("")), nil, 0, "digest"},
		{"weak digest", l.put(docManifest, digestRef("md5:d41d8cd98f00b204e9800998ecf8427e")), nil, 0, "digest"},
		{"sha384", l.put(docManifest, digestRef(digest.SHA384.FromString("x").String())), nil, 0, "neither sha256 nor sha512"},
		{"negative size", l.put(docManifest, strings.Replace(good, `"size":5`, `"size":-5`, 1)), nil, 0, "negative size"},
		{"huge document", l.put(docManifest, good+strings.Repeat(" ", maxImageDocument)), nil, 0, "allowed"},
		{"duplicate key", l.put(docManifest, strings.Replace(good, "{", `{"config":{},`, 1)), nil, 0, "twice"},
		{"no JSON", l.put(docManifest, "hello"), nil, 0, "invalid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClosure(l.read)
			err := c.image(ImageEntry{Name: "x", Descriptor: tt.root, Absent: tt.gone})
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

// TestImageClosureIsLinear: indexes that name each other many times would take
// forever if each mention were walked.
func TestImageClosureIsLinear(t *testing.T) {
	l := library{}
	reads := 0
	d := l.put(docManifest, `{"config":{"digest":"`+digest.FromString("x").String()+`","size":1}}`)
	for range maxIndexDepth {
		children := make([]ocispec.Descriptor, 1000)
		for i := range children {
			children[i] = d
		}
		d = l.put(docIndex, list(children...))
	}
	c := newClosure(func(d ocispec.Descriptor) ([]byte, error) { reads++; return l.read(d) })
	if err := c.image(ImageEntry{Descriptor: d}); err != nil {
		t.Fatal(err)
	}
	if reads != maxIndexDepth+1 {
		t.Errorf("%d documents read, want %d", reads, maxIndexDepth+1)
	}
}
