package mirror

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/reader"
)

// blobState is the result of the last check of a blob.
type blobState int64

const (
	unchecked blobState = iota
	good
	bad
	blobStates // how many there are
)

// blob is one blob of a bundle, opened for reading.
type blob struct {
	digest digest.Digest
	label  string // of the bundle
	path   string // of the URL, if the blob is a file
	data   *io.SectionReader
	local  bool         // in a file of this machine
	result atomic.Int64 // of the last check: generation*blobStates + state

	mu      sync.Mutex
	running *checking // the check that requests wait for; nil if none runs
}

// name returns the name of the blob for messages.
func (b *blob) name() string {
	if b.path != "" {
		return b.path
	}
	return b.label + " (blob " + b.digest.String() + ")"
}

// known returns the result of the last check if it saw the bundle files of this
// generation, else unchecked.
func (b *blob) known(generation int64) blobState {
	result := b.result.Load()
	if result/int64(blobStates) != generation {
		return unchecked
	}
	return blobState(result % int64(blobStates))
}

// record stores the result of a check that began in this generation.
func (b *blob) record(generation int64, state blobState) {
	b.result.Store(generation*int64(blobStates) + int64(state))
}

// judge records that all of b was read in this generation, with the result err, and returns
// the error for it.
func (b *blob) judge(generation int64, err error) error {
	switch {
	case err == nil:
		b.record(generation, good)
		return nil
	case !errors.Is(err, reader.ErrUnavailable): // else nothing is known about the blob
		b.record(generation, bad)
	}
	return b.failure(err)
}

// failure returns the error for a blob that must not be sent.
func (b *blob) failure(err error) error {
	if errors.Is(err, reader.ErrUnavailable) {
		return &bundle.ArtifactError{Op: "serve", Artifact: b.name(), Err: err}
	}
	return &bundle.ArtifactError{Op: "serve", Artifact: b.name(), Err: fmt.Errorf("%w: %w", bundle.ErrVerify, err)}
}

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
			at, err := b.Extents(d)
			if err != nil {
				return nil, fmt.Errorf("mirror: bundle %s: %w", b.Root(), err)
			}
			all = append(all, &blob{digest: d, label: b.Label(d), data: data, local: len(at) > 0})
		}
	}
	return all, nil
}
