package store_test

import (
	"bytes"
	"context"
	"flag"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"github.com/offk8s/offk8s/manifests"
)

// TestModel compares the store with a map under random operations.
func TestModel(t *testing.T) {
	// Every operation syncs the disk: few runs, the default is 100.
	if err := flag.Set("rapid.checks", "10"); err != nil {
		t.Fatal(err)
	}
	s := open(t, t.TempDir())
	rapid.Check(t, func(t *rapid.T) {
		model := map[digest.Digest][]byte{}
		if _, err := s.Prune(context.Background(), func(digest.Digest) bool { return false }); err != nil {
			t.Fatal(err)
		}
		small := rapid.SliceOfN(rapid.Byte(), 0, 2)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				b, claimed := small.Draw(t, "content"), small.Draw(t, "claimed")
				want := manifests.Descriptor{Digest: digest.FromBytes(claimed), Size: int64(len(claimed))}
				err := s.Put(context.Background(), want, bytes.NewReader(b))
				if (err == nil) != bytes.Equal(b, claimed) {
					t.Fatalf("put %x as %x: %v", b, claimed, err)
				}
				if err == nil {
					model[want.Digest] = b
				}
			},
			"remove": func(t *rapid.T) {
				d := digest.FromBytes(small.Draw(t, "content"))
				if err := s.Remove(d); err != nil {
					t.Fatal(err)
				}
				delete(model, d)
			},
			"": func(t *rapid.T) {
				have := 0
				err := s.List(func(d manifests.Descriptor) error {
					have++
					f, err := s.Open(d)
					if err != nil {
						return err
					}
					defer f.Close()
					b, err := io.ReadAll(f)
					if want, ok := model[d.Digest]; !ok || !bytes.Equal(b, want) {
						t.Fatalf("%s holds %x, want %x", d.Digest, b, want)
					}
					return err
				})
				if err != nil || have != len(model) {
					t.Fatalf("%d blobs, want %d: %v", have, len(model), err)
				}
			},
		})
	})
}
