package bundle_test

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/manifests"
)

// TestT11Documents has every document of ours malformed in every way, with all
// digests and the signature right again.
func TestT11Documents(t *testing.T) {
	original, key := tiny(t)
	documents := map[string]string{ // by text that only it has
		"index.json":        "",
		"content index":     `"artifactType":"` + manifests.ArtifactTypeContent + `"`,
		"bundle artifact":   `"artifactType":"` + manifests.ArtifactTypeBundle + `","config"`,
		"files artifact":    `"artifactType":"` + manifests.ArtifactTypeFiles + `","config"`,
		"apt artifact":      `"artifactType":"` + manifests.ArtifactTypeRepository + `","config"`,
		"config":            `"keys":["-----BEGIN`,
		"lock":              `"kind": "Lock"`,
		"image index":       `"architecture":"amd64","os":"linux"}}`,
		"image manifest":    `"mediaType":"application/vnd.oci.image.config.v1+json"`,
		"no document: file": "no document",
	}
	changes := map[string]func(string) string{
		"nothing left":    func(string) string { return "" },
		"null":            func(string) string { return "null" },
		"array":           func(s string) string { return "[" + s + "]" },
		"cut":             func(s string) string { return s[:len(s)-2] },
		"trailing data":   func(s string) string { return s + "{}" },
		"byte order mark": func(s string) string { return "\xef\xbb\xbf" + s },
		"duplicate key":   func(s string) string { return twice(s) },
		"not UTF-8":       func(s string) string { return strings.Replace(s, "{", "{\"\xff\":1,", 1) },
		"deep nesting": func(s string) string {
			return strings.Replace(s, "{", `{"x":`+strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)+",", 1)
		},
		// The ones that upstream may do and we may not.
		"unknown field":    func(s string) string { return strings.Replace(s, "{", `{"x":1,`, 1) },
		"white space":      func(s string) string { return s + " " },
		"leading space":    func(s string) string { return " " + s },
		"schema version":   func(s string) string { return strings.Replace(s, `"schemaVersion":2`, `"schemaVersion":3`, 1) },
		"key in capitals":  func(s string) string { return strings.Replace(s, `"mediaType"`, `"MediaType"`, 1) },
		"escaped the same": func(s string) string { return strings.Replace(s, `a`, `\u0061`, 1) },
	}
	upstreamMay := map[string]bool{"unknown field": true, "white space": true, "leading space": true, "schema version": true, "key in capitals": true, "escaped the same": true}
	for doc, text := range documents {
		if text == "no document" {
			continue
		}
		for how, change := range changes {
			g := unpack(t, original)
			name := bundle.MemberIndex
			if text != "" {
				name = g.find(t, text)
			}
			before := string(g[name])
			after := change(before)
			if after == before || strings.HasPrefix(doc, "image") && upstreamMay[how] {
				continue
			}
			g.replace(t, name, []byte(after))
			g.sign(t, key)
			err := checkBytes(t, g.pack(t), bundletest.Options(key))
			if !errors.Is(err, bundle.ErrVerify) {
				t.Errorf("%s, %s: %v", doc, how, err)
			}
		}
	}
}

// twice repeats the first key of an object.
func twice(s string) string {
	i, j := strings.Index(s, `"`), strings.Index(s, ",")
	if i < 0 || j < i {
		return s + s
	}
	return s[:i] + s[i:j+1] + s[i:]
}

// TestT11Contradictions are signed bundles whose documents parse but do not
// agree with each other.
func TestT11Contradictions(t *testing.T) {
	original, key := tiny(t)
	replace := func(in, old, new string) func(*testing.T, bag) {
		return func(t *testing.T, g bag) {
			t.Helper()
			name := bundle.MemberIndex
			if in != "" {
				name = g.find(t, in)
			}
			if !strings.Contains(string(g[name]), old) {
				t.Fatalf("%q is not in %s", old, g[name])
			}
			g.replace(t, name, []byte(strings.Replace(string(g[name]), old, new, 1)))
		}
	}
	const (
		lock    = `"kind": "Lock"`
		content = `"artifactType":"` + manifests.ArtifactTypeContent + `"`
		files   = `"artifactType":"` + manifests.ArtifactTypeFiles + `","config"`
		apt     = `"artifactType":"` + manifests.ArtifactTypeRepository + `","config"`
		own     = `"artifactType":"` + manifests.ArtifactTypeBundle + `","config"`
		config  = `"keys":["-----BEGIN`
		index   = `"architecture":"amd64","os":"linux"}}`
	)
	absent := string(digest.FromString("x"))
	tests := []struct {
		name   string
		change func(*testing.T, bag)
	}{
		{"sequence only in the config", replace(config, `"sequence":1`, `"sequence":2`)},
		{"sequence only in the lock", replace(lock, `"sequence": 1`, `"sequence": 2`)},
		{"keys that are none", replace(config, "BEGIN PUBLIC KEY", "BEGIN PUBLIC K3Y")},
		{"image under another name", replace("", `"x/y:1"`, `"x/y:2"`)},
		{"image without a name", replace("", `"x/y:1"`, `""`)},
		{"file under another path", replace(files, `"org.opencontainers.image.title":"f"`, `"org.opencontainers.image.title":"g"`)},
		{"file of another plain size", replace(files, `"dev.offk8s.plain.size":"1000"`, `"dev.offk8s.plain.size":"1001"`)},
		{"plain size that is no number", replace(files, `"dev.offk8s.plain.size":"1000"`, `"dev.offk8s.plain.size":"1e3"`)},
		{"files in a group of a repository", replace(files, `"dev.offk8s.group":"files"`, `"dev.offk8s.group":"apt/x"`)},
		{"group in the index only", replace(content, `"dev.offk8s.group":"apt/d"`, `"dev.offk8s.group":"apt/e"`)},
		{"repository as files", replace(apt, manifests.ArtifactTypeRepository, manifests.ArtifactTypeFiles)},
		{"type in the index only", replace(content, manifests.ArtifactTypeRepository, manifests.ArtifactTypeFiles)},
		{"another artifact type", replace(own, manifests.ArtifactTypeBundle, "application/x")},
		{"no content index", replace("", manifests.ArtifactTypeContent, "application/x")},
		{"layer that is no file", replace(files, manifests.MediaTypeFileZstd, "application/x")},
		{"lock that is no lock", replace(own, manifests.MediaTypeLock, manifests.MediaTypeFile)},
		{"key that is no key", replace(own, manifests.MediaTypePublicKey, manifests.MediaTypeFile)},
		{"config that is none", replace(own, manifests.MediaTypeBundleConfig, manifests.MediaTypeFile)},
		{"readme digest missing", replace("", manifests.AnnotationReadme, "x")},
		{"absent manifest that no index names", replace(lock, `"absent": [`, `"absent": ["`+absent+`",`)},
		{"nothing absent, but missing", func(t *testing.T, g bag) {
			name := g.find(t, lock)
			g.replace(t, name, regexp.MustCompile(`,\s*"absent": \[[^]]*\]`).ReplaceAll(g[name], nil))
		}},
		{"image index with config", replace(index, `"manifests":`, `"config":{},"manifests":`)},
		{"image index as a manifest", replace(index, `"mediaType":"application/vnd.oci.image.index.v1+json",`, `"mediaType":"application/vnd.oci.image.manifest.v1+json",`)},
		{"bad digest in an image", replace(index, `"manifests":[`, `"manifests":[{"digest":"sha256:../../x","size":1},`)},
		{"negative size in an image", replace(index, `"manifests":[`, `"manifests":[{"digest":"`+absent+`","size":-1},`)},
		{"weak digest in an image", replace(index, `"manifests":[`, `"manifests":[{"digest":"md5:d41d8cd98f00b204e9800998ecf8427e","size":0},`)},
		{"huge document in an image", replace(index, `"manifests":[`, `"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"`+absent+`","size":9223372036854775807},`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := unpack(t, original)
			tt.change(t, g)
			g.sign(t, key)
			if err := checkBytes(t, g.pack(t), bundletest.Options(key)); !errors.Is(err, bundle.ErrVerify) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestUpstreamLiberties: image manifests are kept byte for byte, with fields we
// do not know and in whatever form.
func TestUpstreamLiberties(t *testing.T) {
	b := smallest(t)
	b.AddImage(t, "x/y:1", "amd64")
	a := &b.Lock.Artifacts[1]
	pretty := bytes.Replace(b.Blobs[a.Blob.Digest], []byte("{"), []byte("{\n \"urls\": null,\n "), 1)
	d := b.Blob(a.Blob.MediaType, pretty)
	a.Blob = d
	if err := checkBytes(t, b.Bytes(t), bundletest.Options(b.Key)); err != nil {
		t.Error(err)
	}
}
