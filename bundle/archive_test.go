package bundle_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/bundle/trust"
)

func TestT01MembersExactly(t *testing.T) {
	original, key := tiny(t)
	o := bundletest.Options(key)
	file := blob(digest.FromString("m"))
	tests := []struct {
		name   string
		change func(bag)
		text   string // in the error
	}{
		{"missing blob", func(g bag) { delete(g, file) }, "is missing"},
		{"missing layout", func(g bag) { delete(g, bundle.MemberLayout) }, bundle.MemberLayout},
		{"missing index", func(g bag) { delete(g, bundle.MemberIndex) }, bundle.MemberIndex},
		{"missing readme", func(g bag) { delete(g, bundle.MemberReadme) }, bundle.MemberReadme},
		{"extra blob", func(g bag) { g[blob(digest.FromString("x"))] = []byte("x") }, "extra member"},
		{"extra blob of another algorithm", func(g bag) { g[blob(digest.SHA512.FromString("x"))] = []byte("x") }, "extra member"},
		{"extra file in blobs", func(g bag) { g["blobs/README"] = nil }, "extra member"},
		{"extra file after the blobs", func(g bag) { g["zzz"] = nil }, "does not belong"},
		{"extra file before the blobs", func(g bag) { g["aaa"] = nil }, "does not belong"},
		{"other layout", func(g bag) { g[bundle.MemberLayout] = []byte(`{"imageLayoutVersion":"1.0.1"}`) }, bundle.MemberLayout},
		{"altered readme", func(g bag) { g[bundle.MemberReadme][0]++ }, bundle.MemberReadme},
		{"blob too long", func(g bag) { g[file] = append(g[file], 0) }, "expected"},
		{"blob too short", func(g bag) { g[file] = g[file][1:] }, "expected"},
		{"huge head", func(g bag) { g[bundle.MemberReadme] = make([]byte, 1<<20) }, "allowed"},
		{"nothing", func(g bag) { clear(g) }, "the end"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := unpack(t, original)
			tt.change(g)
			err := checkBytes(t, g.pack(t), o)
			if !errors.Is(err, bundle.ErrVerify) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %q", err, tt.text)
			}
		})
	}
}

// TestT01OtherOrder has all members, but not where they belong.
func TestT01OtherOrder(t *testing.T) {
	original, key := tiny(t)
	g := unpack(t, original)
	for i := range g.names()[1:] {
		names := g.names()
		names[i], names[i+1] = names[i+1], names[i]
		if err := checkBytes(t, g.packOrdered(t, names), bundletest.Options(key)); !errors.Is(err, bundle.ErrVerify) {
			t.Errorf("%q before %q: %v", names[i], names[i+1], err)
		}
	}
}

// TestT01NothingAfterTheEnd appends what other readers of tar would skip.
func TestT01NothingAfterTheEnd(t *testing.T) {
	original, key := tiny(t)
	for name, tail := range map[string][]byte{"byte": {0}, "zero block": make([]byte, 512), "second bundle": original} {
		t.Run(name, func(t *testing.T) {
			err := checkBytes(t, append(bytes.Clone(original), tail...), bundletest.Options(key))
			if !errors.Is(err, bundle.ErrVerify) || !strings.Contains(err.Error(), "after the trailer") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestAllBadBlobsAreNamed spoils two blobs: one run of Verify names both, by
// what a person calls them.
func TestAllBadBlobsAreNamed(t *testing.T) {
	b := bundletest.New(t)
	b.AddSmall(t)
	g := unpack(t, b.Bytes(t))
	for _, text := range []string{"Suite: offk8s", "cniVersion"} {
		name := g.find(t, text)
		g[name] = bytes.ToUpper(g[name])
	}
	err := checkBytes(t, g.pack(t), bundletest.Options(b.Key))
	for _, want := range []string{"apt/debian-12/dists/offk8s/InRelease", "files/amd64/cni.conf"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named: %v", want, err)
		}
	}
	var artifact *bundle.ArtifactError
	if !errors.As(err, &artifact) || artifact.Op != "verify" {
		t.Errorf("no ArtifactError: %v", err)
	}
}

func TestT07PathTraversal(t *testing.T) {
	for _, path := range []string{"../x", "/abs", "a/../../b", `C:\x`, "a\x00b", "a\nb", "a//b", "a/", ".", "con", "a b", "ä", strings.Repeat("x", 300)} {
		b := smallest(t)
		a := &b.Lock.Artifacts[0]
		a.Path = path
		if root, err := bundle.Seal(t.Context(), &bytes.Buffer{}, b.Input()); err == nil {
			t.Errorf("sealed path %q as %s", path, root)
		}
		// A signer who does it by hand: the title of the layer.
		title, err := json.Marshal(path)
		if err != nil {
			t.Fatal(err)
		}
		g, key := unpackSmallest(t)
		name := g.find(t, `"org.opencontainers.image.title":"f"`)
		doc := strings.Replace(string(g[name]), `"org.opencontainers.image.title":"f"`, `"org.opencontainers.image.title":`+string(title), 1)
		g.replace(t, name, []byte(doc))
		g.sign(t, key)
		if err := checkBytes(t, g.pack(t), bundletest.Options(key)); !errors.Is(err, bundle.ErrVerify) {
			t.Errorf("opened path %q: %v", path, err)
		}
	}
	for _, group := range []string{"", "x", "../files", "files/x", "yum/rocky-9", "yum/../x", "apt/a/b", "apt"} {
		b := smallest(t)
		b.AddMetadata(group, "x", []byte("x"))
		if root, err := bundle.Seal(t.Context(), &bytes.Buffer{}, b.Input()); err == nil {
			t.Errorf("sealed group %q as %s", group, root)
		}
	}
}

func unpackSmallest(t testing.TB) (bag, *trust.KeyPair) {
	t.Helper()
	b := smallest(t)
	return unpack(t, b.Bytes(t)), b.Key
}

func TestT08OnlyRegularFiles(t *testing.T) {
	original, key := tiny(t)
	x, err := tarfile.ReadIndex(t.Context(), bytes.NewReader(original), int64(len(original)))
	if err != nil {
		t.Fatal(err)
	}
	header := int(x.Members()[len(x.Members())-1].Offset) - 512
	for flag := range 256 {
		b := bytes.Clone(original)
		old := b[header+156]
		if b[header+156] = byte(flag); byte(flag) == old {
			continue
		}
		var sum int
		copy(b[header+148:], "        ")
		for _, c := range b[header : header+512] {
			sum += int(c)
		}
		copy(b[header+148:], fmt.Sprintf("%06o\x00 ", sum))
		if err := checkBytes(t, b, bundletest.Options(key)); !errors.Is(err, bundle.ErrVerify) {
			t.Errorf("type 0x%02x: %v", flag, err)
		}
	}
}

func TestT09Duplicates(t *testing.T) {
	original, key := tiny(t)
	// Each member once more at the end, before the trailer.
	x, err := tarfile.ReadIndex(t.Context(), bytes.NewReader(original), int64(len(original)))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range x.Members() {
		end := m.Offset + m.Size
		end += -end & 511
		again := slices.Concat(original[:len(original)-1024], original[m.Offset-512:end], original[len(original)-1024:])
		if err := checkBytes(t, again, bundletest.Options(key)); !errors.Is(err, bundle.ErrVerify) {
			t.Errorf("%q twice: %v", m.Name, err)
		}
	}
	upper := unpack(t, original)
	upper["INDEX.JSON"] = nil
	var out bytes.Buffer
	w := tarfile.NewWriter(&out)
	for n := range maps.Keys(upper) {
		if err = w.Add(n, int64(len(upper[n])), bytes.NewReader(upper[n])); err != nil {
			break
		}
	}
	if !errors.Is(err, tarfile.ErrName) {
		t.Errorf("wrote index.json and INDEX.JSON: %v", err)
	}
}

func TestT12Truncated(t *testing.T) {
	b := bundletest.New(t)
	b.AddSmall(t)
	content := b.Bytes(t)
	o := bundletest.Options(b.Key)
	for n := 0; n < len(content); n += 512 {
		for _, at := range []int{n, n + 1, n + 511} {
			if at >= len(content) {
				continue
			}
			err := checkBytes(t, content[:at], o)
			if !errors.Is(err, bundle.ErrVerify) || !errors.Is(err, tarfile.ErrTruncated) {
				t.Errorf("cut at %d: %v", at, err)
			} else if want := fmt.Sprintf("truncated at %d bytes, expected at least ", at); !strings.Contains(err.Error(), want) {
				t.Errorf("cut at %d: %v", at, err)
			}
		}
	}
}
