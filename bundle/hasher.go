package bundle

import (
	"hash"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
)

// hashBuffer is the size of a block in bytes: large, because USB sticks are slow at small
// reads.
const hashBuffer = 1 << 20

// block is a buffer whose content several goroutines hash while it is written. It is used
// again after the last of them.
type block struct {
	b     [hashBuffer]byte
	users atomic.Int32
}

var blocks = sync.Pool{New: func() any { return new(block) }}

// newBlock returns a block with one user, the caller.
func newBlock() *block {
	b := blocks.Get().(*block)
	b.users.Store(1)
	return b
}

func (b *block) release() {
	if b.users.Add(-1) == 0 {
		blocks.Put(b)
	}
}

// piece is a part of a block, at rest until it is released.
type piece struct {
	of *block
	b  []byte
}

// hasher hashes on a goroutine of its own, so that a bundle is written as fast as it is
// hashed, and not one after the other. digest must be called. A nil one does nothing.
type hasher struct {
	pieces chan piece
	sum    chan digest.Digest
}

func newHasher(a digest.Algorithm) *hasher {
	h := &hasher{pieces: make(chan piece, 2), sum: make(chan digest.Digest)}
	go h.run(a, a.Hash())
	return h
}

func (h *hasher) run(a digest.Algorithm, sum hash.Hash) {
	for p := range h.pieces {
		sum.Write(p.b)
		p.of.release()
	}
	h.sum <- digest.NewDigest(a, sum)
}

// add returns while b, which is a part of a block, is hashed.
func (h *hasher) add(of *block, b []byte) {
	if h != nil && len(b) > 0 {
		of.users.Add(1)
		h.pieces <- piece{of, b}
	}
}

// digest returns the digest of everything that was added, and ends the goroutine.
func (h *hasher) digest() digest.Digest {
	if h == nil {
		return ""
	}
	close(h.pieces)
	return <-h.sum
}
