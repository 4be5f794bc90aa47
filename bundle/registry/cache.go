package registry

import (
	"container/list"
	"fmt"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Cache keeps blobs on the local disk, those that were used last. Its files have no names:
// nobody else can alter them, and they end with the process. It is safe for concurrent
// use by several bundles.
type Cache struct {
	dir   string
	limit int64

	mu      sync.Mutex
	freed   *sync.Cond
	used    int64 // bytes of entries, those that are on their way too
	entries map[digest.Digest]*entry
	idle    list.List // of *entry, those that were not used for the longest time first
}

// entry is a blob in the cache.
type entry struct {
	digest  digest.Digest
	size    int64
	ready   chan struct{} // closed when file or err is set
	file    *os.File
	err     error
	readers int
	at      *list.Element // in idle; nil while it has readers
}

// NewCache returns a Cache of at most limit bytes in dir, which it creates.
func NewCache(dir string, limit int64) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	c := &Cache{dir: dir, limit: limit, entries: map[digest.Digest]*entry{}}
	c.freed = sync.NewCond(&c.mu)
	return c, nil
}

// file returns a new file without a name.
func (c *Cache) file() (*os.File, error) {
	f, err := os.CreateTemp(c.dir, "blob-")
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cache: %w", err)
	}
	return f, nil
}

// readAt reads from a blob of size bytes. If it is not in the cache, fetch writes it to a
// file, of which nothing is read unless fetch verified it.
func (c *Cache) readAt(d digest.Digest, size int64, p []byte, off int64, fetch func(*os.File) error) (int, error) {
	e := c.pin(d, size, fetch)
	defer c.unpin(e)
	if e.err != nil {
		return 0, e.err
	}
	return e.file.ReadAt(p, off)
}

// pin returns the entry of a blob when it is ready; it stays until unpin.
func (c *Cache) pin(d digest.Digest, size int64, fetch func(*os.File) error) *entry {
	c.mu.Lock()
	e := c.entries[d]
	if e != nil {
		e.readers++
		if e.at != nil {
			c.idle.Remove(e.at)
			e.at = nil
		}
		c.mu.Unlock()
		<-e.ready
		return e
	}
	e = &entry{digest: d, size: size, ready: make(chan struct{}), readers: 1}
	c.entries[d] = e
	for c.used+size > c.limit && (c.used > 0) {
		if !c.evict() {
			c.freed.Wait()
		}
	}
	c.used += size
	c.mu.Unlock()
	if e.file, e.err = c.file(); e.err == nil {
		e.err = fetch(e.file)
	}
	close(e.ready)
	return e
}

// evict removes the blob that was not used for the longest time, if one is idle.
func (c *Cache) evict() bool {
	first := c.idle.Front()
	if first == nil {
		return false
	}
	c.remove(c.idle.Remove(first).(*entry))
	return true
}

// remove forgets an entry without readers.
func (c *Cache) remove(e *entry) {
	delete(c.entries, e.digest)
	c.used -= e.size
	if e.file != nil {
		_ = e.file.Close() // nothing is written to it any more
	}
	c.freed.Broadcast()
}

func (c *Cache) unpin(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.readers--; e.readers > 0 {
		return
	}
	if e.err != nil {
		c.remove(e)
		return
	}
	e.at = c.idle.PushBack(e)
	c.freed.Broadcast()
}

// Close removes all blobs. Nothing may be read any more.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.evict() {
	}
	return nil
}
