package registry

import (
	"container/list"
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/reader"
)

// roomWait is how long a blob waits for others to leave a cache that is full of blobs in
// use. dnf and apt give up after 30 seconds without a byte.
const roomWait = 20 * time.Second

// Cache keeps blobs on the local disk, those that were used last. Its files have no names:
// nobody else can alter them, and they end with the process. It is safe for concurrent
// use by several bundles.
//
// A blob in use stays, and all blobs together never have more than the limit: one that
// finds no room waits for a moment, then its readers get an error that wraps reader.ErrBusy.
type Cache struct {
	dir   string
	limit int64
	wait  time.Duration
	turn  chan struct{} // held by the blob that gets the next room
	freed chan struct{} // has an element after room became free

	mu      sync.Mutex
	used    int64 // bytes of entries, those that are on their way too
	entries map[digest.Digest]*entry
	idle    list.List // of *entry, those that were not used for the longest time first
}

// entry is a blob in the cache.
type entry struct {
	digest  digest.Digest
	size    int64         // 0 before there is room for it
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
	return &Cache{
		dir: dir, limit: limit, wait: roomWait, turn: make(chan struct{}, 1), freed: make(chan struct{}, 1),
		entries: map[digest.Digest]*entry{},
	}, nil
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
	e, err := c.pin(context.Background(), d, size, fetch)
	if err != nil {
		return 0, err
	}
	defer c.unpin(e)
	return e.file.ReadAt(p, off)
}

// pin returns the entry of a blob when it is ready; it stays until unpin. If ctx is done
// while somebody else fetches it, pin returns the error of ctx.
func (c *Cache) pin(ctx context.Context, d digest.Digest, size int64, fetch func(*os.File) error) (*entry, error) {
	c.mu.Lock()
	e := c.entries[d]
	first := e == nil
	if first {
		e = &entry{digest: d, ready: make(chan struct{})}
		c.entries[d] = e
	}
	e.readers++
	if e.at != nil {
		c.idle.Remove(e.at)
		e.at = nil
	}
	c.mu.Unlock()
	if first {
		c.fill(e, size, fetch)
	}
	var err error
	select {
	case <-e.ready:
		err = e.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		c.unpin(e)
		return nil, err
	}
	return e, nil
}

// fill makes a new entry ready.
func (c *Cache) fill(e *entry, size int64, fetch func(*os.File) error) {
	defer close(e.ready)
	if e.err = c.reserve(e, size); e.err != nil {
		return
	}
	if e.file, e.err = c.file(); e.err == nil {
		e.err = fetch(e.file)
	}
}

// reserve makes room for size bytes of e. Idle blobs leave; if that is not enough, it waits
// for those in use, in the order of the callers.
func (c *Cache) reserve(e *entry, size int64) error {
	if c.take(e, size) {
		return nil
	}
	timeout := time.NewTimer(c.wait)
	defer timeout.Stop()
	full := fmt.Errorf("cache of %d bytes: no room for a blob of %d: %w", c.limit, size, reader.ErrBusy)
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-timeout.C:
		return full
	}
	for !c.take(e, size) {
		select {
		case <-c.freed:
		case <-timeout.C:
			return full
		}
	}
	return nil
}

// take gives size bytes to e, and reports whether there was room.
func (c *Cache) take(e *entry, size int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.used+size > c.limit {
		if !c.evict() {
			return false
		}
	}
	e.size = size
	c.used += size
	return true
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
	c.signal()
}

// signal tells a request that waits for room that there may be some.
func (c *Cache) signal() {
	select {
	case c.freed <- struct{}{}:
	default:
	}
}

func (c *Cache) unpin(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.readers--; e.readers > 0 {
		return
	}
	// The request that fetches is a reader, so the entry is ready.
	if e.err != nil {
		c.remove(e)
		return
	}
	e.at = c.idle.PushBack(e)
	c.signal()
}

// Close removes all blobs. Nothing may be read any more.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.evict() {
	}
	return nil
}
