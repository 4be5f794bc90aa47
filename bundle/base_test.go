package bundle_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/trust"
)

// generations are three bundles of one name, each with a file more than the one before.
func generations(t testing.TB) [3]*bundletest.Builder {
	t.Helper()
	var out [3]*bundletest.Builder
	for i := range out {
		b := bundletest.New(t)
		b.AddSmall(t)
		b.Lock.Sequence = int64(i + 1)
		for n := range i {
			name := string(rune('a' + n))
			b.AddFile(t, name, "amd64/"+name, noisy(10_000, n+1), false)
		}
		out[i] = b
	}
	return out
}

func openPaths(t testing.TB, paths ...string) *bundle.Bundle {
	t.Helper()
	b, err := bundle.Open(t.Context(), paths, bundletest.Options(bundletest.Key(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// delta seals b into a file without what the bundle at base has.
func delta(t testing.TB, b *bundletest.Builder, base string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "delta.tar")
	in := readBack(b.Input())
	in.Base = openPaths(t, base).Inventory()
	if _, err := bundle.SealFile(t.Context(), path, in); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDelta has only the new content, names its base, and with it is the whole bundle.
func TestDelta(t *testing.T) {
	g := generations(t)
	first := g[0].Seal(t)
	second := delta(t, g[1], first)
	third := delta(t, g[2], second)
	whole := g[2].Seal(t)

	held := unpack(t, read(t, third))
	for d, content := range g[2].Blobs {
		_, inBase := g[1].Blobs[d]
		_, has := held[blob(d)]
		if document := bytes.HasPrefix(content, []byte(`{"schemaVersion"`)); has != (document || !inBase) {
			t.Errorf("blob %s, in the base: %v, document: %v: is in the delta: %v", d, inBase, document, has)
		}
	}

	alone := openPaths(t, third)
	base, ok := alone.Base()
	if want := (bundle.Base{Name: "kubernetes-1.36", Sequence: 2, Root: openPaths(t, second).Root()}); !ok || base != want {
		t.Errorf("base is %v, want %v", base, want)
	}
	if alone.Root() != openPaths(t, whole).Root() {
		t.Error("the root of the delta is not that of the whole bundle")
	}
	if _, err := bundle.Inspect(alone); err != nil {
		t.Errorf("inspect without the base: %v", err)
	}
	if err := alone.Verify(t.Context(), bundle.VerifyOptions{}); err != nil {
		t.Errorf("what the delta has: %v", err)
	}
	wantMissing(t, alone.Whole(), base)
	_, err := alone.Blob(digest.FromBytes(noisy(10_000, 1)))
	wantMissing(t, err, base)
	two, _ := openPaths(t, second).Base()
	wantMissing(t, openPaths(t, third, second).Whole(), two)

	for _, paths := range [][]string{{third, second, first}, {third, first, second}} {
		b := openPaths(t, paths...)
		if err := errors.Join(b.Whole(), b.Verify(t.Context(), bundle.VerifyOptions{})); err != nil {
			t.Errorf("%q: %v", paths, err)
		}
		merged := filepath.Join(t.TempDir(), "merged.tar")
		if _, err := bundle.Merge(t.Context(), b, bundle.WriteOptions{Output: merged, Progress: func(done, total int64) {}}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read(t, merged), read(t, whole)) {
			t.Errorf("%q: the merged bundle differs from the whole one", paths)
		}
	}
	if _, err := bundle.Merge(t.Context(), alone, bundle.WriteOptions{Output: filepath.Join(t.TempDir(), "x.tar")}); err == nil {
		t.Error("merged a delta without its base")
	}
	if !bytes.Equal(read(t, third), read(t, delta(t, g[2], second))) {
		t.Error("the delta differs when it is packed again")
	}
}

// TestMergeInParts writes the parts that pack of the whole bundle writes, with the key of the
// bundle only.
func TestMergeInParts(t *testing.T) {
	g := generations(t)
	first := g[0].Seal(t)
	b := openPaths(t, delta(t, g[1], first), first)
	want := filepath.Join(t.TempDir(), "b.tar")
	files := split(t, g[1], want, 8000)
	o := bundle.WriteOptions{Output: filepath.Join(t.TempDir(), "b.tar"), Split: 8000, Progress: func(done, total int64) {}}
	stranger, err := trust.GenerateKeys(bundletest.Created)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]*trust.KeyPair{"no key": nil, "a stranger's key": stranger} {
		o.Key = key
		if _, err := bundle.Merge(t.Context(), b, o); !errors.Is(err, bundle.ErrOtherKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(o.Output)); err != nil || len(left) > 0 {
		t.Errorf("refused, and left %v, %v", left, err)
	}
	o.Key = g[1].Key
	sealed, err := bundle.Merge(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(sealed.Files) != len(files) || len(files) < 3 || sealed.Size() != b.MergedSize() {
		t.Errorf("%d files of %d bytes, want %d of %d", len(sealed.Files), sealed.Size(), len(files), b.MergedSize())
	}
	for _, f := range sealed.Files {
		if !bytes.Equal(read(t, f.Path), read(t, filepath.Join(filepath.Dir(want), filepath.Base(f.Path)))) {
			t.Errorf("%q differs from that of the whole bundle", f.Path)
		}
	}
	if err := openPaths(t, o.Output).Verify(t.Context(), bundle.VerifyOptions{}); err != nil {
		t.Error(err)
	}
	o.Key, o.Split = nil, b.MergedSize()
	if sealed, err := bundle.Merge(t.Context(), b, o); err != nil || len(sealed.Files) != 1 {
		t.Errorf("what fits in one file: %v, %v", sealed.Files, err)
	}
}

func wantMissing(t *testing.T, err error, want bundle.Base) {
	t.Helper()
	e, ok := errors.AsType[*bundle.BaseError](err)
	if !ok || e.Base != want {
		t.Errorf("got %v, want a missing base: %v", err, want)
	}
}

// TestDeltaRefuses bases that are not the named one, and a delta that was altered.
func TestDeltaRefuses(t *testing.T) {
	g := generations(t)
	first, second := g[0].Seal(t), g[1].Seal(t)
	path := delta(t, g[1], first)
	other := bundletest.New(t)
	other.AddSmall(t)
	other.Lock.Sequence = 9
	o := bundletest.Options(bundletest.Key(t))
	for name, paths := range map[string][]string{
		"another base":          {path, other.Seal(t)},
		"the whole bundle":      {path, second},
		"the base twice":        {path, first, first},
		"a base of no delta":    {second, first},
		"one base that matches": {path, first, second},
	} {
		if _, err := bundle.Open(t.Context(), paths, o); !errors.Is(err, bundle.ErrOtherBase) {
			t.Errorf("%s: %v", name, err)
		}
	}
	in := g[1].Input()
	in.Base = openPaths(t, second).Inventory()
	if _, err := bundle.SealFile(t.Context(), filepath.Join(t.TempDir(), "x.tar"), in); !errors.Is(err, bundle.ErrOtherBase) {
		t.Errorf("sealed a delta of itself: %v", err)
	}

	raw := read(t, path)
	stranger, err := trust.GenerateKeys(bundletest.Created)
	if err != nil {
		t.Fatal(err)
	}
	otherDelta := unpack(t, read(t, delta(t, g[1], other.Seal(t))))
	next := unpack(t, read(t, delta(t, g[2], first)))
	for name, change := range map[string]func(bag){
		"the base is not named": func(g bag) { delete(g, bundle.MemberBase) },
		"another sequence": func(g bag) {
			g[bundle.MemberBase] = bytes.Replace(g[bundle.MemberBase], []byte(`"sequence":1`), []byte(`"sequence":3`), 1)
		},
		"the base of another delta": func(g bag) { g[bundle.MemberBase] = next[bundle.MemberBase] },
		"no signature": func(g bag) {
			doc := g[bundle.MemberBase]
			g[bundle.MemberBase] = append(bytes.Clone(doc[:bytes.Index(doc, []byte(`,"signature"`))]), '}')
		},
		"signed by a stranger": func(g bag) { g.sign(t, stranger) },
		"a document left out":  func(g bag) { delete(g, g.find(t, `"kubernetes": "1.36.3"`)) },
		"an extra blob":        func(g bag) { g[blobOf([]byte("x"))] = []byte("x") },
	} {
		b := unpack(t, raw)
		change(b)
		if err := checkBytes(t, b.pack(t), o); !errors.Is(err, bundle.ErrVerify) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Both bases were named by the packer: the blobs decide.
	b := unpack(t, raw)
	b[bundle.MemberBase] = otherDelta[bundle.MemberBase]
	if err := os.WriteFile(path, b.pack(t), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Open(t.Context(), []string{path, first}, o); !errors.Is(err, bundle.ErrOtherBase) {
		t.Errorf("a base that the delta does not name: %v", err)
	}
}

// FuzzBase puts other bytes in the place of the member that names the base: what is
// accepted is what was signed.
func FuzzBase(f *testing.F) {
	g := generations(f)
	original := unpack(f, read(f, delta(f, g[1], g[0].Seal(f))))
	f.Add(original[bundle.MemberBase])
	f.Add([]byte(`{"apiVersion":"offk8s.dev/v1","kind":"Base","bundle":"","base":{"name":"","sequence":0,"root":"sha256:0"}}`))
	o := bundletest.Options(g[1].Key)
	f.Fuzz(func(t *testing.T, raw []byte) {
		changed := maps.Clone(original)
		changed[bundle.MemberBase] = raw
		err := checkBytes(t, changed.pack(t), o)
		if err == nil && !bytes.Equal(raw, original[bundle.MemberBase]) {
			t.Errorf("accepted %q", raw)
		}
		if err != nil && !errors.Is(err, bundle.ErrVerify) {
			t.Errorf("refused without a class: %v", err)
		}
	})
}

// TestInventory is read as it was written, and leads to the same delta as the bundle.
func TestInventory(t *testing.T) {
	g := generations(t)
	first := g[0].Seal(t)
	raw, err := json.Marshal(openPaths(t, first).Inventory())
	if err != nil {
		t.Fatal(err)
	}
	in := g[1].Input()
	if in.Base, err = bundle.ReadInventory(raw); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := bundle.Seal(t.Context(), &out, in); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), read(t, delta(t, g[1], first))) {
		t.Error("the delta differs from that with the bundle")
	}
	in.Base.Blobs = append(in.Base.Blobs, digest.FromBytes(noisy(10_000, 1)))
	slices.Sort(in.Base.Blobs)
	path := filepath.Join(t.TempDir(), "too-little.tar")
	if _, err := bundle.SealFile(t.Context(), path, in); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Open(t.Context(), []string{path, first}, bundletest.Options(g[1].Key)); !errors.Is(err, bundle.ErrVerify) {
		t.Errorf("the base lacks a blob that the inventory lists: %v", err)
	}
	for _, bad := range []string{"", "{}", "[]", strings.Replace(string(raw), "Inventory", "Lock", 1), strings.Replace(string(raw), `"sha256:`, `"sha1:`, 1)} {
		if _, err := bundle.ReadInventory([]byte(bad)); err == nil {
			t.Errorf("read %.40q", bad)
		}
	}
}

func FuzzInventory(f *testing.F) {
	raw, err := json.Marshal(openPaths(f, generations(f)[0].Seal(f)).Inventory())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		i, err := bundle.ReadInventory(raw)
		if err == nil && (i.Bundle.Root.Validate() != nil || !slices.IsSorted(i.Blobs)) {
			t.Errorf("read %+v", i)
		}
	})
}
