package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/reader"
)

// Many readers of more blobs than the cache holds get the right bytes, each blob is
// fetched once at a time, and the limit holds.
func TestCacheUnderLoad(t *testing.T) {
	const blobs, size = 20, 1000
	c, err := NewCache(t.TempDir(), 3*size)
	if err != nil {
		t.Fatal(err)
	}
	var running [blobs]atomic.Int64
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			for i := range 200 {
				n := (worker*7 + i*i) % blobs
				content := strings.Repeat(string(rune('a'+n)), size)
				got := make([]byte, 10)
				_, err := c.readAt(digest.FromString(content), size, got, 500, func(f *os.File) error {
					if running[n].Add(1) != 1 {
						t.Error("a blob is fetched twice at a time")
					}
					defer running[n].Add(-1)
					c.mu.Lock()
					if c.used > c.limit {
						t.Errorf("%d bytes are used, allowed %d", c.used, c.limit)
					}
					c.mu.Unlock()
					_, err := f.WriteString(content)
					return err
				})
				if err != nil || string(got) != content[:10] {
					t.Errorf("%q, error %v", got, err)
				}
			}
		})
	}
	wg.Wait()
	if left, err := os.ReadDir(c.dir); err != nil || len(left) > 0 {
		t.Errorf("files with names: %v, error %v", left, err)
	}
	if err := c.Close(); err != nil || c.used != 0 || len(c.entries) > 0 {
		t.Errorf("after Close: %d bytes, %d entries, error %v", c.used, len(c.entries), err)
	}
}

// A blob that could not be fetched is fetched again by the next reader.
func TestCacheForgetsFailures(t *testing.T) {
	c, err := NewCache(t.TempDir(), 100)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	away := errors.New("away")
	d := digest.FromString("x")
	for i, want := range []error{away, nil, nil} {
		_, err := c.readAt(d, 1, make([]byte, 1), 0, func(f *os.File) error {
			if i == 2 {
				return fmt.Errorf("fetched again")
			}
			if want == nil {
				_, _ = f.WriteString("x")
			}
			return want
		})
		if !errors.Is(err, want) {
			t.Errorf("read %d: error %v, want %v", i, err, want)
		}
	}
}

// pinned pins a blob of 100 bytes that is called name, and counts how often it is fetched.
func pinned(ctx context.Context, c *Cache, name string, fetched map[string]int) (*entry, error) {
	return c.pin(ctx, digest.FromString(name), 100, func(*os.File) error {
		fetched[name]++
		return nil
	})
}

// Blobs in use stay. Another one waits until one of them is free, or ends with ErrBusy.
func TestCacheKeepsWhatIsInUse(t *testing.T) {
	c, err := NewCache(t.TempDir(), 250)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fetched := map[string]int{}
	pin := func(name string) *entry {
		t.Helper()
		e, err := pinned(t.Context(), c, name, fetched)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	one, two := pin("one"), pin("two")
	c.wait = time.Millisecond
	if _, err := pinned(t.Context(), c, "three", fetched); !errors.Is(err, reader.ErrBusy) || !errors.Is(err, reader.ErrUnavailable) {
		t.Errorf("error %v, want ErrBusy", err)
	}
	c.wait = time.Minute
	waits := make(chan *entry)
	go func() {
		e, err := pinned(t.Context(), c, "three", fetched)
		if err != nil {
			t.Error(err)
		}
		waits <- e
	}()
	for len(c.turn) == 0 {
		runtime.Gosched()
	}
	c.unpin(one)
	three := <-waits
	c.unpin(pin("two"))
	c.unpin(two)
	c.unpin(three)
	c.unpin(pin("two"))
	if diff := cmp.Diff(map[string]int{"one": 1, "two": 1, "three": 1}, fetched); diff != "" {
		t.Errorf("fetched: -want +got:\n%s", diff)
	}
	if c.used != 200 {
		t.Errorf("%d bytes are used, want 200", c.used)
	}
}

// A reader that gives up does not end the download that others wait for.
func TestCacheReaderGivesUp(t *testing.T) {
	c, err := NewCache(t.TempDir(), 100)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d := digest.FromString("x")
	e, err := c.pin(t.Context(), d, 1, func(*os.File) error {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.pin(ctx, d, 1, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want that of the context", err)
		}
		return nil
	})
	if err != nil || e.readers != 1 {
		t.Errorf("%+v, error %v, want one reader", e, err)
	}
	c.unpin(e)
}
