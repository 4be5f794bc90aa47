package fetch_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/manifests"
)

func fetchesOnce(t *testing.T, r *run) {
	if err := r.fetch(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.mustBeComplete()
	before := len(r.up.Requests())
	for i := range r.group {
		r.group[i].Blob, r.group[i].Plain = manifests.Descriptor{}, manifests.Descriptor{}
	}
	if err := r.fetch(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.mustBeComplete()
	if again := r.up.Requests()[before:]; len(again) > 0 {
		t.Errorf("the second time it asked for %v", again)
	}
}

func resumes(t *testing.T, r *run) {
	var ranges []string
	r.onPayload(func(n int64, w http.ResponseWriter, q *http.Request) bool {
		ranges = append(ranges, q.Header.Get("Range"))
		if n > 0 {
			return false
		}
		r.answer(q).cut(w)
		return true
	})
	if err := r.fetch(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.mustBeComplete()
	if len(ranges) != 2 || ranges[0] != "" || ranges[1] == "" {
		t.Errorf("ranges %q, want none and then one", ranges)
	}
}

func wrongDigest(t *testing.T, r *run) {
	n := r.onPayload(func(_ int64, w http.ResponseWriter, q *http.Request) bool {
		a := r.answer(q)
		a.send(w, flip(a.body.Bytes()))
		return true
	})
	err := r.fetch(context.Background())
	if !errors.Is(err, fetch.ErrMismatch) {
		t.Fatalf("got %v, want %v", err, fetch.ErrMismatch)
	}
	if n.Load() != 2 {
		t.Errorf("%d downloads, want it tried once more", n.Load())
	}
	r.mustBeEmpty()
}

func wrongSize(t *testing.T, r *run) {
	r.onPayload(func(_ int64, w http.ResponseWriter, q *http.Request) bool {
		a := r.answer(q)
		a.send(w, append(a.body.Bytes(), 0))
		return true
	})
	if err := r.fetch(context.Background()); !errors.Is(err, fetch.ErrMismatch) {
		t.Fatalf("got %v, want %v", err, fetch.ErrMismatch)
	}
	r.mustBeEmpty()
}

func shorter(t *testing.T, r *run) {
	r.onPayload(func(_ int64, w http.ResponseWriter, q *http.Request) bool {
		a := r.answer(q)
		a.send(w, a.body.Bytes()[:a.body.Len()-1])
		return true
	})
	if err := r.fetch(context.Background()); !errors.Is(err, fetch.ErrMismatch) {
		t.Fatalf("got %v, want %v", err, fetch.ErrMismatch)
	}
	r.mustBeEmpty()
}

func cutAlways(t *testing.T, r *run) {
	r.onPayload(func(_ int64, w http.ResponseWriter, q *http.Request) bool {
		a := r.answer(q)
		if q.Header.Get("Range") != "" {
			panic(http.ErrAbortHandler) // not a byte more
		}
		a.cut(w)
		return true
	})
	err := r.fetch(context.Background())
	if err == nil || errors.Is(err, fetch.ErrMismatch) {
		t.Fatalf("got %v, want an error of the connection", err)
	}
	if n := r.sleeps.Load(); n < 2 || n > 10 {
		t.Errorf("waited %d times before giving up", n)
	}
	// The received part stays for the next run.
	if fi, err := os.Stat(r.partFile()); err != nil || fi.Size() == 0 {
		t.Errorf("part file: %v %v", fi, err)
	}
	r.up.Hook(nil)
	if err := r.fetch(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.mustBeComplete()
}

func movedTag(t *testing.T, r *run) {
	r.Move(t, r.up, r.group)
	err := r.fetch(context.Background())
	if r.Digests {
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range r.group {
			if a.Kind == manifests.KindImage && a.Blob.Digest != a.Source.Digest { // a chart is compared by its fetcher
				t.Errorf("got %s, want what was resolved: %s", a.Blob.Digest, a.Source.Digest)
			}
		}
		return
	}
	if !errors.Is(err, fetch.ErrMismatch) {
		t.Fatalf("got %v, want %v", err, fetch.ErrMismatch)
	}
	r.mustBeEmpty()
}

func cancelled(t *testing.T, r *run) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r.onPayload(func(_ int64, w http.ResponseWriter, q *http.Request) bool {
		cancel()
		<-q.Context().Done() // a body that never comes
		return true
	})
	if err := r.fetch(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want %v", err, context.Canceled)
	}
	if r.sleeps.Load() > 0 {
		t.Error("tried again after it was cancelled")
	}
	r.up.Hook(nil)
	if err := r.fetch(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.mustBeComplete()
}

// A proxy ignores Range and does not hide it.
func rangeFromZero(t *testing.T, r *run) {
	r.onPayload(func(n int64, w http.ResponseWriter, q *http.Request) bool {
		q.Header.Del("Range")
		a := r.answer(q)
		if n == 0 {
			a.cut(w)
		}
		a.send(w, a.body.Bytes())
		return true
	})
	if err := r.fetch(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.mustBeComplete()
}

// A proxy claims to continue but sends other content.
func rangeOfOther(t *testing.T, r *run) {
	var lies int
	r.onPayload(func(n int64, w http.ResponseWriter, q *http.Request) bool {
		a := r.answer(q)
		switch {
		case n == 0:
			a.cut(w)
		case q.Header.Get("Range") != "":
			lies++
			a.send(w, flip(a.body.Bytes()))
		default:
			a.send(w, a.body.Bytes())
		}
		return true
	})
	if err := r.fetch(context.Background()); err != nil {
		t.Fatal(err)
	}
	if lies == 0 {
		t.Error("nothing was continued")
	}
	r.mustBeComplete()
}

func serverError(t *testing.T, r *run) {
	r.onPayload(func(n int64, w http.ResponseWriter, _ *http.Request) bool {
		if n > 1 {
			return false
		}
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return true
	})
	if err := r.fetch(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.mustBeComplete()
	if r.sleeps.Load() != 2 {
		t.Errorf("waited %d times, want 2", r.sleeps.Load())
	}
}

func otherLock(t *testing.T, r *run) {
	r.group[0].Blob = manifests.Descriptor{Digest: digest.FromString("something else"), Size: 14}
	if err := r.fetch(context.Background()); !errors.Is(err, fetch.ErrMismatch) {
		t.Fatalf("got %v, want %v", err, fetch.ErrMismatch)
	}
}

// The part file of an earlier run is complete, and the size is not known.
func completePart(t *testing.T, r *run) {
	r.onPayload(func(_ int64, w http.ResponseWriter, q *http.Request) bool {
		if q.Header.Get("Range") != "" {
			panic(http.ErrAbortHandler)
		}
		r.answer(q).cut(w)
		return true
	})
	if err := r.fetch(context.Background()); err == nil {
		t.Fatal("fetched over a connection that is cut each time")
	}
	var whole []byte
	n := r.onPayload(func(_ int64, w http.ResponseWriter, q *http.Request) bool {
		asked := q.Header.Get("Range")
		q.Header.Del("Range")
		a := r.answer(q)
		whole = a.body.Bytes()
		if strings.HasPrefix(asked, fmt.Sprintf("bytes=%d-", len(whole))) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(whole)))
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return true
		}
		a.send(w, whole)
		return true
	})
	path := r.partFile()
	if err := r.fetch(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.mustBeComplete()
	for i := range r.group {
		r.group[i].Blob, r.group[i].Plain = manifests.Descriptor{}, manifests.Descriptor{}
	}
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	path = filepath.Join(s.Dir(), "partial", filepath.Base(path))
	r.env.Store = s
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	writePart(t, path, whole)
	before := n.Load()
	if err := r.fetch(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.mustBeComplete()
	if n.Load() > before+1 {
		t.Errorf("%d requests for a file that was complete", n.Load()-before)
	}
}

// HEAD is never asked for.
func headRefused(t *testing.T, r *run) {
	var heads, whole int
	r.up.Hook(func(w http.ResponseWriter, q *http.Request) bool {
		if q.Method == http.MethodHead {
			heads++
			http.Error(w, "no", http.StatusForbidden)
			return true
		}
		if r.isPayload(q) && q.Header.Get("Range") == "" {
			if whole++; whole == 1 {
				r.answer(q).cut(w)
			}
		}
		return false
	})
	if err := r.fetch(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.mustBeComplete()
	if heads > 0 || whole != 1 {
		t.Errorf("%d times HEAD, %d times from the start", heads, whole)
	}
}

// A crash may leave a part file of the right length with other bytes.
func damagedPart(t *testing.T, r *run) {
	r.onPayload(func(_ int64, w http.ResponseWriter, q *http.Request) bool {
		if q.Header.Get("Range") != "" {
			panic(http.ErrAbortHandler)
		}
		r.answer(q).cut(w)
		return true
	})
	if err := r.fetch(context.Background()); err == nil {
		t.Fatal("fetched over a connection that is cut each time")
	}
	path := r.partFile()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	writePart(t, path, make([]byte, fi.Size()))
	r.up.Hook(nil)
	if err := r.fetch(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.mustBeComplete()
}
