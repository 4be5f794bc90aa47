package image

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/image/imagetest"
)

const (
	docIndex    = ocispec.MediaTypeImageIndex
	docManifest = ocispec.MediaTypeImageManifest
)

// with returns the good manifest with more fields.
func with(fields string) string { return strings.Replace(imagetest.Good, "{", "{"+fields+",", 1) }

func TestParse(t *testing.T) {
	d := digest.FromString("x").String()
	child := func(mediaType string) string {
		return `{"schemaVersion":2,"manifests":[{"mediaType":"` + mediaType + `","digest":"` + d + `","size":1}]}`
	}
	tests := []struct {
		name, mediaType, doc string
		want                 string // media type, or part of the error
	}{
		{"manifest", docManifest, imagetest.Good, docManifest},
		{"docker manifest", MediaTypeDockerManifest, imagetest.Good, MediaTypeDockerManifest},
		{"manifest of unknown type", "", imagetest.Good, docManifest},
		{"index", docIndex, child(docManifest), docIndex},
		{"docker index", MediaTypeDockerIndex, child(MediaTypeDockerManifest), MediaTypeDockerIndex},
		{"index of unknown type", "", child(docIndex), docIndex},
		{"type from the document", "", with(`"mediaType":"` + MediaTypeDockerManifest + `"`), MediaTypeDockerManifest},
		{"empty index", docIndex, imagetest.List(), docIndex},
		{"unknown field", docManifest, with(`"x":1`), docManifest},
		{"unknown type", "application/x", imagetest.Good, "unknown image media type"},
		{"unknown type inside", "", with(`"mediaType":"application/x"`), "unknown image media type"},
		{"unknown type of a child", docIndex, child("application/x"), docIndex},
		{"schema 1", "application/vnd.docker.distribution.manifest.v1+json", imagetest.Good, "unknown image media type"},
		{"schema version 1", docManifest, strings.Replace(imagetest.Good, "2", "1", 1), "schema version 1"},
		{"no schema version", docManifest, `{"config":{"digest":"` + d + `","size":1}}`, "schema version 0"},
		{"another type inside", docManifest, with(`"mediaType":"` + docIndex + `"`), "its descriptor says"},
		{"index with manifests and config", docIndex, with(`"manifests":[]`), "at once"},
		{"index with layers", docIndex, `{"schemaVersion":2,"layers":[]}`, "with a config or layers"},
		{"manifest with manifests", docManifest, with(`"manifests":[]`), "at once"},
		{"manifest without config", docManifest, `{"schemaVersion":2,"layers":[]}`, "without a config"},
		{"path as digest", docManifest, imagetest.Config("sha256:../../x"), "digest"},
		{"no digest", docManifest, imagetest.Config(""), "digest"},
		{"weak digest", docManifest, imagetest.Config("md5:d41d8cd98f00b204e9800998ecf8427e"), "digest"},
		{"sha384", docManifest, imagetest.Config(digest.SHA384.FromString("x").String()), "want sha256 or sha512"},
		{"negative size", docManifest, strings.Replace(imagetest.Good, `"size":5`, `"size":-5`, 1), "negative size"},
		{"negative size of a child", docIndex, strings.Replace(child(docManifest), `"size":1`, `"size":-1`, 1), "negative size"},
		{"huge document", docManifest, imagetest.Good + strings.Repeat(" ", MaxSize), "allowed"},
		{"many children", docIndex, imagetest.List(make([]ocispec.Descriptor, MaxChildren+1)...), "allowed 1024"},
		{"duplicate key", docManifest, with(`"config":{}`), "duplicate key"},
		{"two documents", docManifest, imagetest.Good + imagetest.Good, "document"},
		{"no JSON", docManifest, "hello", "invalid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doc, err := Parse(tt.mediaType, []byte(tt.doc))
			if err == nil && doc.MediaType == tt.want {
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("media type %q, error %v, want %q", doc.MediaType, err, tt.want)
			}
		})
	}
}

func TestWalk(t *testing.T) {
	l := imagetest.Library{}
	manifest := l.Put(docManifest, imagetest.Good)
	other := l.Put(docManifest, with(`"x":1`))
	missing := ocispec.Descriptor{MediaType: docManifest, Digest: digest.FromString("missing"), Size: 4}
	chain := func(n int) ocispec.Descriptor {
		d := manifest
		for range n {
			d = l.Put(docIndex, imagetest.List(d))
		}
		return d
	}
	huge := missing
	huge.Size = MaxSize + 1
	tests := []struct {
		name string
		root ocispec.Descriptor
		docs int
		want string // part of the error
	}{
		{"manifest", manifest, 1, ""},
		{"only a digest", ocispec.Descriptor{Digest: manifest.Digest}, 1, ""},
		{"index", l.Put(docIndex, imagetest.List(manifest, other)), 3, ""},
		{"child named twice", l.Put(docIndex, imagetest.List(manifest, manifest)), 2, ""},
		{"deep", chain(MaxDepth - 1), MaxDepth, ""},
		{"too deep", chain(MaxDepth), MaxDepth, "nested deeper"},
		{"missing child", l.Put(docIndex, imagetest.List(manifest, missing)), 2, "is missing"},
		{"huge", huge, 0, "allowed"},
		{"no digest", ocispec.Descriptor{Digest: "sha256:../x"}, 0, "digest"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			docs, last := 0, error(nil)
			for n, err := range Walk(tt.root, l.Read, nil) {
				if last = err; err != nil {
					continue
				}
				docs++
				if int64(len(n.Body)) != n.Descriptor.Size || n.Descriptor.MediaType != n.MediaType {
					t.Errorf("descriptor %+v of %d bytes %q", n.Descriptor, len(n.Body), n.MediaType)
				}
			}
			if docs != tt.docs || (last == nil) != (tt.want == "") || last != nil && !strings.Contains(last.Error(), tt.want) {
				t.Errorf("%d documents, want %d; error %v, want %q", docs, tt.docs, last, tt.want)
			}
		})
	}
}

func TestWalkSkips(t *testing.T) {
	l := imagetest.Library{}
	manifest := l.Put(docManifest, imagetest.Good)
	missing := ocispec.Descriptor{MediaType: docManifest, Digest: digest.FromString("missing"), Size: 4}
	mentions := 0
	skip := func(d ocispec.Descriptor) bool { mentions++; return d.Digest == missing.Digest }
	docs := 0
	for _, err := range Walk(l.Put(docIndex, imagetest.List(missing, manifest, manifest, missing)), l.Read, skip) {
		if err != nil {
			t.Fatal(err)
		}
		docs++
	}
	if docs != 2 || mentions != 4 {
		t.Errorf("%d documents of %d mentions, want 2 of 4", docs, mentions)
	}
}

// TestWalkIsLinear: indexes that name each other many times would take forever
// if each mention were walked.
func TestWalkIsLinear(t *testing.T) {
	l := imagetest.Library{}
	reads := 0
	d := l.Put(docManifest, imagetest.Good)
	for range MaxDepth - 1 {
		children := make([]ocispec.Descriptor, 1000)
		for i := range children {
			children[i] = d
		}
		d = l.Put(docIndex, imagetest.List(children...))
	}
	read := func(d ocispec.Descriptor) ([]byte, error) { reads++; return l.Read(d) }
	for _, err := range Walk(d, read, nil) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if reads != MaxDepth {
		t.Errorf("%d documents read, want %d", reads, MaxDepth)
	}
}

func TestWalkStops(t *testing.T) {
	l := imagetest.Library{}
	reads := 0
	read := func(d ocispec.Descriptor) ([]byte, error) { reads++; return l.Read(d) }
	for range Walk(l.Put(docIndex, imagetest.List(l.Put(docManifest, imagetest.Good))), read, nil) {
		break
	}
	if reads != 1 {
		t.Errorf("%d documents read after the loop was left, want 1", reads)
	}
}

// FuzzWalk: whatever a document holds, a walk ends, and what it returns is
// within the limits.
func FuzzWalk(f *testing.F) {
	f.Add(docManifest, imagetest.Good)
	f.Add("", imagetest.Good)
	f.Add(docIndex, imagetest.List(ocispec.Descriptor{MediaType: docManifest, Digest: digest.FromString("x"), Size: 1}))
	f.Add(MediaTypeDockerIndex, imagetest.List())
	errAbsent := errors.New("absent")
	f.Fuzz(func(t *testing.T, mediaType, body string) {
		root := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString(body), Size: int64(len(body))}
		read := func(d ocispec.Descriptor) ([]byte, error) {
			if d.Digest != root.Digest {
				return nil, errAbsent
			}
			return []byte(body), nil
		}
		for n, err := range Walk(root, read, nil) {
			if err != nil {
				continue
			}
			if (n.Config == nil) != IsIndex(n.MediaType) || max(len(n.Manifests), len(n.Layers)) > MaxChildren {
				t.Errorf("%+v", n.Document)
			}
			for _, d := range append(n.Blobs(), n.Manifests...) {
				if Check(d.Digest, d.Size) != nil {
					t.Errorf("descriptor %+v", d)
				}
			}
		}
	})
}

// 4 MiB of empty descriptors must not become half a gigabyte.
func TestParseNeedsLittleMemory(t *testing.T) {
	for _, field := range []string{"manifests", "layers", "x", "annotations"} {
		body := []byte(`{"schemaVersion":2,"` + field + `":[` + strings.Repeat("{},", 4<<20/3-20) + `{}]}`)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse("", body)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: accepted", field)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
			t.Errorf("%s: allocated %d MiB", field, used>>20)
		}
	}
}
