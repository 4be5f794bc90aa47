package bundle_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/manifests"
)

// TestT11Documents has every document of ours malformed in every way, with all
// digests and the signature right again. Those of images are in TestImageClosure.
func TestT11Documents(t *testing.T) {
	original, key := tiny(t)
	documents := map[string]string{ // by text that only it has
		"index.json":      "",
		"content index":   `"artifactType":"` + manifests.ArtifactTypeContent + `"`,
		"bundle artifact": `"artifactType":"` + manifests.ArtifactTypeBundle + `","config"`,
		"files artifact":  `"artifactType":"` + manifests.ArtifactTypeFiles + `","config"`,
		"apt artifact":    `"artifactType":"` + manifests.ArtifactTypeRepository + `","config"`,
		"config":          `"keys":["-----BEGIN`,
		"lock":            `"kind": "Lock"`,
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
		// What encoding/json lets pass and upstream may do in its documents.
		"unknown field":    func(s string) string { return strings.Replace(s, "{", `{"x":1,`, 1) },
		"white space":      func(s string) string { return s + " " },
		"leading space":    func(s string) string { return " " + s },
		"schema version":   func(s string) string { return strings.Replace(s, `"schemaVersion":2`, `"schemaVersion":3`, 1) },
		"key in capitals":  func(s string) string { return strings.Replace(s, `"mediaType"`, `"MediaType"`, 1) },
		"escaped the same": func(s string) string { return strings.Replace(s, `a`, `\u0061`, 1) },
	}
	for doc, text := range documents {
		for how, change := range changes {
			g := unpack(t, original)
			name := bundle.MemberIndex
			if text != "" {
				name = g.find(t, text)
			}
			before := string(g[name])
			after := change(before)
			if after == before {
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
	)
	tests := []struct {
		name   string
		change func(*testing.T, bag)
		text   string // in the error
	}{
		{"sequence only in the config", replace(config, `"sequence":1`, `"sequence":2`), "config and lock do not agree"},
		{"sequence only in the lock", replace(lock, `"sequence": 1`, `"sequence": 2`), "config and lock do not agree"},
		{"keys that are none", replace(config, "BEGIN PUBLIC KEY", "BEGIN PUBLIC K3Y"), "parse public key"},
		{"image under another name", replace("", `"a:1"`, `"a:2"`), `"a:2": image is not in the lock`},
		{"image of the lock missing", replace("", `"a:1"`, `"a:2"`), `"a:1": lock says`},
		{"image without a name", replace("", `"a:1"`, `""`), "out of order"},
		{"file under another path", replace(files, `title":"f"`, `title":"g"`), `"files/g": file is not in the lock`},
		{"file of the lock missing", replace(files, `title":"f"`, `title":"g"`), `"files/f": lock has this file`},
		{"file of another plain size", replace(files, `"dev.offk8s.plain.size":"1000"`, `"dev.offk8s.plain.size":"1001"`), "(1001 bytes)"},
		{"plain size that is no number", replace(files, `"dev.offk8s.plain.size":"1000"`, `"dev.offk8s.plain.size":"1e3"`), "plain size"},
		{"negative plain size", replace(files, `"dev.offk8s.plain.size":"1000"`, `"dev.offk8s.plain.size":"-1"`), "negative size"},
		{"group in the index only", replace(content, `"dev.offk8s.group":"apt/d"`, `"dev.offk8s.group":"apt/e"`), "do not agree"},
		{"repository as files", replaceBoth(manifests.ArtifactTypeRepository, manifests.ArtifactTypeFiles), "artifact of type"},
		{"type in the index only", replace(content, manifests.ArtifactTypeRepository, manifests.ArtifactTypeFiles), "do not agree"},
		{"another artifact type", replaceBoth(manifests.ArtifactTypeBundle, "application/x"), "is not the first artifact of a bundle"},
		{"no content index", replace("", manifests.ArtifactTypeContent, "application/x"), "is not the index of a bundle"},
		{"content index that says otherwise", replace(content, manifests.ArtifactTypeContent, "application/x"), "is not the content index"},
		{"layer that is no file", replace(files, manifests.MediaTypeFileZstd, "application/x"), "media type"},
		{"lock that is no lock", replace(own, manifests.MediaTypeLock, manifests.MediaTypeFile), "is not the first artifact of a bundle"},
		{"key that is no key", replace(own, manifests.MediaTypePublicKey, manifests.MediaTypeFile), "expected the repository key"},
		{"config that is none", replace(own, manifests.MediaTypeBundleConfig, manifests.MediaTypeFile), "is not the first artifact of a bundle"},
		{"readme digest missing", replace("", manifests.AnnotationReadme, "x"), "README.txt"},
		{"nothing absent, but missing", func(t *testing.T, g bag) {
			name := g.find(t, lock)
			g.replace(t, name, regexp.MustCompile(`,\s*"absent": \[[^]]*\]`).ReplaceAll(g[name], nil))
		}, "is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := unpack(t, original)
			tt.change(t, g)
			g.sign(t, key)
			raw := g.pack(t)
			_, err := bundle.OpenReader(t.Context(), bytes.NewReader(raw), int64(len(raw)), bundletest.Options(key))
			if !errors.Is(err, bundle.ErrVerify) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %q", err, tt.text)
			}
		})
	}
}

// replaceBoth changes an artifact type in the manifest and in its descriptor.
func replaceBoth(old, new string) func(*testing.T, bag) {
	return func(t *testing.T, g bag) {
		t.Helper()
		for _, in := range []string{`"artifactType":"` + old + `","config"`, `"artifactType":"` + manifests.ArtifactTypeContent + `"`} {
			name := g.find(t, in)
			g.replace(t, name, bytes.ReplaceAll(g[name], []byte(old), []byte(new)))
		}
	}
}

// TestOpenParsesOnlyWhatItHashed: Open itself, before any Verify, refuses a
// document that was altered, in size or not.
func TestOpenParsesOnlyWhatItHashed(t *testing.T) {
	original, key := tiny(t)
	n := 0
	for name, content := range unpack(t, original) {
		if !strings.HasPrefix(name, "blobs/") || len(content) == 0 || content[0] != '{' || bytes.Contains(content, []byte(`"rootfs"`)) {
			continue
		}
		n++
		for how, altered := range map[string][]byte{
			"same size": bytes.Replace(content, []byte(`"`), []byte(` `), 1),
			"longer":    append(bytes.Clone(content), ' '),
			"shorter":   content[:len(content)-1],
		} {
			if bytes.Equal(altered, content) {
				continue
			}
			g := unpack(t, original)
			g[name] = altered
			raw := g.pack(t)
			_, err := bundle.OpenReader(t.Context(), bytes.NewReader(raw), int64(len(raw)), bundletest.Options(key))
			if !errors.Is(err, bundle.ErrVerify) || !strings.Contains(err.Error(), "content has") {
				t.Errorf("%s, %s: %v", content, how, err)
			}
		}
	}
	if n < 8 {
		t.Errorf("only %d documents", n)
	}
}

// TestT11OrderAndRepetition: each list has one order and nothing twice, also
// when the signer says otherwise.
func TestT11OrderAndRepetition(t *testing.T) {
	b := bundletest.New(t)
	b.AddSmall(t)
	original := b.Bytes(t)
	edits := map[string]func([]ocispec.Descriptor, int){
		"swapped": func(list []ocispec.Descriptor, i int) { list[i], list[i+1] = list[i+1], list[i] },
		"twice":   func(list []ocispec.Descriptor, i int) { list[i+1] = list[i] },
	}
	for name, at := range map[string]struct {
		text  string // which document; empty for index.json
		first int    // of two neighbours
	}{
		"images":    {"", 0},
		"artifacts": {`"artifactType":"` + manifests.ArtifactTypeContent + `"`, 1},
		"files":     {`"title":"repodata/repomd.xml"`, 0},
	} {
		for how, edit := range edits {
			g := unpack(t, original)
			member := bundle.MemberIndex
			if at.text != "" {
				member = g.find(t, strings.Replace(at.text, `"title"`, `"org.opencontainers.image.title"`, 1))
			}
			var doc any
			if name == "files" {
				m := &ocispec.Manifest{}
				unmarshal(t, g[member], m)
				edit(m.Layers, at.first)
				doc = m
			} else {
				x := &ocispec.Index{}
				unmarshal(t, g[member], x)
				edit(x.Manifests, at.first)
				doc = x
			}
			g.replace(t, member, marshal(t, doc))
			g.sign(t, b.Key)
			err := checkBytes(t, g.pack(t), bundletest.Options(b.Key))
			if !errors.Is(err, bundle.ErrVerify) || !strings.Contains(err.Error(), "out of order") {
				t.Errorf("%s %s: %v", name, how, err)
			}
		}
	}
}

func unmarshal(t testing.TB, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// marshal is the canonical form: json.Marshal but for HTML escapes.
func marshal(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(b.Bytes())
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
