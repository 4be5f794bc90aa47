package registry

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
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
