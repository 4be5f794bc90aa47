package bundle_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/offk8s/offk8s/bundle"
)

// FuzzOpen puts other bytes in the place of one member and makes the digests
// that lead there right again, so that the fuzzer gets behind them. Whatever is
// accepted has a root, a Lock and readable blobs; whatever is not, is refused
// by class.
func FuzzOpen(f *testing.F) {
	raw, _ := tiny(f)
	original := unpack(f, raw)
	delete(original, bundle.MemberSignature)
	delete(original, bundle.MemberSigstore)
	names := slices.Sorted(maps.Keys(original))
	for i, n := range names {
		f.Add(uint8(i), original[n])
	}
	o := bundle.OpenOptions{AllowUnsigned: true}
	f.Fuzz(func(t *testing.T, which uint8, content []byte) {
		g := maps.Clone(original)
		name := names[int(which)%len(names)]
		if len(name) > len("blobs/") && name[:6] == "blobs/" {
			if _, taken := g[blobOf(content)]; taken {
				return
			}
			g.replace(t, name, content)
		} else {
			g[name] = content
		}
		packed := g.pack(t)
		b, err := bundle.OpenReader(t.Context(), bytes.NewReader(packed), int64(len(packed)), o)
		if err != nil {
			if !errors.Is(err, bundle.ErrVerify) {
				t.Errorf("refused without a class: %v", err)
			}
			return
		}
		if err := b.Verify(t.Context(), bundle.VerifyOptions{Workers: 1, Content: true}); err != nil && !errors.Is(err, bundle.ErrVerify) {
			t.Error(err)
		}
		if _, err := bundle.Inspect(b); err != nil {
			t.Errorf("inspect: %v", err)
		}
	})
}
