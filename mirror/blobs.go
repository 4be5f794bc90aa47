package mirror

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
)

// blobState is the result of the last check of a blob.
type blobState int32

const (
	unchecked blobState = iota
	good
	bad
)

// blob is one blob of a bundle, opened for reading.
type blob struct {
	digest digest.Digest
	name   string // for messages
	data   *io.SectionReader
	state  atomic.Int32
	mu     sync.Mutex // held while a request hashes the blob
}

func (b *blob) known() blobState { return blobState(b.state.Load()) }

// openBlobs opens every blob of the bundles, in the order in which they are
// stored. If two bundles have the same blob, it is read from the first.
func openBlobs(bundles []*bundle.Bundle) ([]*blob, error) {
	var all []*blob
	seen := make(map[digest.Digest]bool)
	for _, b := range bundles {
		for _, d := range b.Blobs() {
			if seen[d] {
				continue
			}
			seen[d] = true
			data, err := b.Blob(d)
			if err != nil {
				return nil, fmt.Errorf("mirror: bundle %s: %w", b.Root(), err)
			}
			all = append(all, &blob{digest: d, name: fmt.Sprintf("%s (blob %s)", b.Label(d), d), data: data})
		}
	}
	return all, nil
}
