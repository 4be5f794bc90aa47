package bundle_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/bundle/trust"
)

// bag is a bundle taken apart.
type bag map[string][]byte

var headOrder = []string{
	bundle.MemberLayout, bundle.MemberIndex, bundle.MemberSignature, bundle.MemberSigstore, bundle.MemberReadme, bundle.MemberBase,
}

func unpack(t testing.TB, b []byte) bag {
	t.Helper()
	g := bag{}
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return g
		}
		if err != nil {
			t.Fatal(err)
		}
		if g[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// names returns the members in the order of a bundle.
func (g bag) names() []string {
	var names []string
	for _, n := range headOrder {
		if _, ok := g[n]; ok {
			names = append(names, n)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(g)) {
		if !slices.Contains(headOrder, n) {
			names = append(names, n)
		}
	}
	return names
}

func (g bag) pack(t testing.TB) []byte { return g.packOrdered(t, g.names()) }

func (g bag) packOrdered(t testing.TB, names []string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tarfile.NewWriter(&out)
	for _, n := range names {
		if err := w.Add(n, int64(len(g[n])), bytes.NewReader(g[n])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// sign makes the signature of index.json right again.
func (g bag) sign(t testing.TB, key *trust.KeyPair) {
	t.Helper()
	sig, err := key.SignIndex(g[bundle.MemberIndex])
	if err != nil {
		t.Fatal(err)
	}
	g[bundle.MemberSignature] = sig
	if g[bundle.MemberSigstore], err = trust.SigstoreBundle(g[bundle.MemberIndex], sig, key.Public()); err != nil {
		t.Fatal(err)
	}
}

func blobOf(content []byte) string { return blob(digest.FromBytes(content)) }

func blob(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }

// find returns the only member that contains text.
func (g bag) find(t testing.TB, text string) string {
	t.Helper()
	found := ""
	for name, content := range g {
		if strings.HasPrefix(name, "blobs/") && bytes.Contains(content, []byte(text)) {
			if found != "" {
				t.Fatalf("%q is in %q and %q", text, found, name)
			}
			found = name
		}
	}
	if found == "" {
		t.Fatalf("no member has %q", text)
	}
	return found
}

// replace puts other content in the place of a blob and makes every descriptor
// that leads there true again, up to index.json: what a signer could do. The
// new content stays as it is even if it names one of those itself.
func (g bag) replace(t testing.TB, name string, content []byte) {
	t.Helper()
	g.propagate(name, content, blobOf(content))
}

func (g bag) propagate(name string, content []byte, keep string) {
	if name == bundle.MemberIndex {
		g[name] = content
		return
	}
	old, d := g[name], digest.FromBytes(content)
	delete(g, name)
	g[blob(d)] = content
	from := fmt.Sprintf(`"digest":"%s","size":%d`, digest.FromBytes(old), len(old))
	to := fmt.Sprintf(`"digest":"%s","size":%d`, d, len(content))
	for parent, doc := range maps.Clone(g) {
		if parent != keep && bytes.Contains(doc, []byte(from)) {
			g.propagate(parent, bytes.ReplaceAll(doc, []byte(from), []byte(to)), keep)
		}
	}
}

// smallest has no more than one compressed file: about 16 KB.
func smallest(t testing.TB) *bundletest.Builder {
	t.Helper()
	b := bundletest.New(t)
	key := *b.Key
	key.OpenPGPPublic = []byte("key")
	b.Key = &key
	b.AddFile(t, "f", "f", bytes.Repeat([]byte("f"), 1000), true)
	return b
}

// tiny has every kind of member.
func tiny(t testing.TB) ([]byte, *trust.KeyPair) {
	t.Helper()
	b := smallest(t)
	b.AddIndex(t, "x/y:1", []string{"amd64"}, []string{"arm64"})
	b.AddImage(t, "a:1", "amd64")
	b.AddMetadata("apt/d", "InRelease", []byte("m"))
	return b.Bytes(t), b.Key
}

// check opens and verifies.
func check(t testing.TB, r io.ReaderAt, size int64, o bundle.OpenOptions) error {
	t.Helper()
	b, err := bundle.OpenReader(t.Context(), r, size, o)
	if err != nil {
		return err
	}
	return b.Verify(t.Context(), bundle.VerifyOptions{Workers: 1, Content: true})
}

func checkBytes(t testing.TB, b []byte, o bundle.OpenOptions) error {
	t.Helper()
	return check(t, bytes.NewReader(b), int64(len(b)), o)
}

// TestT01EveryBit flips each bit of a bundle in turn.
func TestT01EveryBit(t *testing.T) {
	small := smallest(t)
	original, o := small.Bytes(t), bundletest.Options(small.Key)
	if err := checkBytes(t, original, o); err != nil {
		t.Fatal(err)
	}
	step := 1
	if testing.Short() {
		step = 37
	}
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			b := bytes.Clone(original)
			for bit := w * step; bit < 8*len(b); bit += workers * step {
				b[bit/8] ^= 1 << (bit % 8)
				if err := checkBytes(t, b, o); !errors.Is(err, bundle.ErrVerify) && !errors.Is(err, bundle.ErrPolicy) {
					t.Errorf("bit %d of byte %d: %v", bit%8, bit/8, err)
				}
				b[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
	wg.Wait()
}

// TestT01RandomBytes changes random places of a larger bundle.
func TestT01RandomBytes(t *testing.T) {
	b := bundletest.New(t)
	b.AddSmall(t)
	b.AddFile(t, "big", "big", bytes.Repeat([]byte("0123456789"), 20_000), false)
	content := b.Bytes(t)
	o := bundletest.Options(b.Key)
	runs := 1000
	if testing.Short() {
		runs = 50
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range runs {
		at, by := random.IntN(len(content)), byte(1+random.IntN(255))
		content[at] ^= by
		if err := checkBytes(t, content, o); !errors.Is(err, bundle.ErrVerify) && !errors.Is(err, bundle.ErrPolicy) {
			t.Errorf("byte %d changed by 0x%02x: %v", at, by, err)
		}
		content[at] ^= by
	}
}

func TestT02Signatures(t *testing.T) {
	original, key := tiny(t)
	other, err := trust.GenerateKeys(bundletest.Created)
	if err != nil {
		t.Fatal(err)
	}
	trusted, none := bundletest.Options(key), bundle.OpenOptions{}
	unsigned := bundle.OpenOptions{AllowUnsigned: true}
	byFingerprint := func(k *trust.KeyPair) bundle.OpenOptions {
		return bundle.OpenOptions{Fingerprints: []string{k.Fingerprint()}, AllowUnsigned: true}
	}
	trustedOrNot := bundle.OpenOptions{Keys: trusted.Keys, AllowUnsigned: true}
	strip := func(g bag) { delete(g, bundle.MemberSignature); delete(g, bundle.MemberSigstore) }
	tests := []struct {
		name   string
		change func(bag)
		o      bundle.OpenOptions
		class  error // nil: opens
		cause  error
		signed bool
	}{
		{"good", func(bag) {}, trusted, nil, nil, true},
		{"good, several keys", func(bag) {}, bundle.OpenOptions{Keys: []trust.PublicKey{other.Public(), key.Public()}}, nil, nil, true},
		{"no key", func(bag) {}, none, bundle.ErrPolicy, trust.ErrNoKey, false},
		{"no key, unsigned allowed", func(bag) {}, unsigned, nil, nil, false},
		{"stripped", strip, trusted, bundle.ErrPolicy, trust.ErrUnsigned, false},
		{"stripped, no key", strip, none, bundle.ErrPolicy, trust.ErrUnsigned, false},
		{"stripped, unsigned allowed", strip, unsigned, nil, nil, false},
		{"stripped, unsigned allowed, keys", strip, trustedOrNot, nil, nil, false},
		{"empty signature", func(g bag) { g[bundle.MemberSignature] = nil }, trusted, bundle.ErrPolicy, trust.ErrUnsigned, false},
		{"empty signature, unsigned allowed", func(g bag) { g[bundle.MemberSignature] = nil }, unsigned, bundle.ErrVerify, nil, false},
		{"half stripped", func(g bag) { delete(g, bundle.MemberSigstore) }, trusted, bundle.ErrVerify, nil, false},
		{"half stripped, unsigned allowed", func(g bag) { delete(g, bundle.MemberSignature) }, unsigned, bundle.ErrVerify, nil, false},
		{"other key", func(g bag) { g.sign(t, other) }, trusted, bundle.ErrVerify, trust.ErrUnknownKey, false},
		{"other key, unsigned allowed", func(g bag) { g.sign(t, other) }, trustedOrNot, bundle.ErrVerify, trust.ErrUnknownKey, false},
		{"key the bundle does not name", func(g bag) { g.sign(t, other) }, unsigned, bundle.ErrVerify, trust.ErrUnknownKey, false},
		{"fingerprint", func(bag) {}, byFingerprint(key), nil, nil, true},
		{"fingerprint of another key", func(bag) {}, byFingerprint(other), bundle.ErrVerify, trust.ErrUnknownKey, false},
		{"fingerprint, other key", func(g bag) { g.sign(t, other) }, byFingerprint(key), bundle.ErrVerify, trust.ErrUnknownKey, false},
		{"fingerprint of a key the bundle does not name", func(g bag) { g.sign(t, other) }, byFingerprint(other), bundle.ErrVerify, trust.ErrUnknownKey, false},
		{"fingerprint, index altered", func(g bag) { g[bundle.MemberIndex] = append(g[bundle.MemberIndex], '\n') }, byFingerprint(key), bundle.ErrVerify, nil, false},
		{"trailing byte", func(g bag) { g[bundle.MemberSignature] = append(g[bundle.MemberSignature], 0) }, trusted, bundle.ErrVerify, trust.ErrBadSignature, false},
		{"index altered", func(g bag) { g[bundle.MemberIndex] = append(g[bundle.MemberIndex], '\n') }, trusted, bundle.ErrVerify, trust.ErrBadSignature, false},
		{"index altered, unsigned allowed", func(g bag) { g[bundle.MemberIndex] = append(g[bundle.MemberIndex], '\n') }, unsigned, bundle.ErrVerify, nil, false},
		{"sigstore altered", func(g bag) { g[bundle.MemberSigstore] = append(g[bundle.MemberSigstore], '\n') }, trusted, bundle.ErrVerify, nil, false},
		{"sigstore of another key", func(g bag) {
			sig := g[bundle.MemberSignature]
			g.sign(t, other)
			g[bundle.MemberSignature] = sig
		}, trusted, bundle.ErrVerify, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := unpack(t, original)
			tt.change(g)
			raw := g.pack(t)
			b, err := bundle.OpenReader(t.Context(), bytes.NewReader(raw), int64(len(raw)), tt.o)
			if tt.class == nil {
				if err != nil {
					t.Fatal(err)
				}
				if _, signed := b.Signer(); signed != tt.signed {
					t.Errorf("signer reported: %v", signed)
				}
				return
			}
			if !errors.Is(err, tt.class) || tt.cause != nil && !errors.Is(err, tt.cause) {
				t.Errorf("got %v, want %v, %v", err, tt.class, tt.cause)
			}
			if errors.Is(err, bundle.ErrVerify) && errors.Is(err, bundle.ErrPolicy) {
				t.Errorf("both classes: %v", err)
			}
		})
	}
}

func TestT05MixAndMatch(t *testing.T) {
	a, b := bundletest.New(t), bundletest.New(t)
	a.AddFile(t, "f", "f", []byte("aaaa"), false)
	b.AddFile(t, "f", "f", []byte("bbbb"), false)
	ga, gb := unpack(t, a.Bytes(t)), unpack(t, b.Bytes(t))
	o := bundletest.Options(a.Key)
	nameA, nameB := blob(digest.FromString("aaaa")), blob(digest.FromString("bbbb"))
	tests := map[string]func(bag){
		"blob of the other under its own name": func(g bag) { delete(g, nameA); g[nameB] = gb[nameB] },
		"blob of the other under our name":     func(g bag) { g[nameA] = gb[nameB] },
		"both blobs":                           func(g bag) { g[nameB] = gb[nameB] },
		"index of the other": func(g bag) {
			for _, n := range headOrder {
				g[n] = gb[n]
			}
		},
		"readme of the other": func(g bag) { g[bundle.MemberReadme] = append(gb[bundle.MemberReadme], ' ') },
	}
	for name, change := range tests {
		g := maps.Clone(ga)
		change(g)
		if err := checkBytes(t, g.pack(t), o); !errors.Is(err, bundle.ErrVerify) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
