package image

import (
	"errors"
	"fmt"
	"iter"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Node is a document of an image as Walk found it.
type Node struct {
	// Descriptor is the one that led here, with media type and size filled in
	// if it lacked them.
	Descriptor ocispec.Descriptor
	Body       []byte
	Document
}

// Reader returns the bytes of a document, verified against the digest of d and
// against its size if that is not 0.
type Reader func(d ocispec.Descriptor) ([]byte, error)

// Walk returns the documents below root, parents first and each digest once.
// root needs no more than a digest. The loop ends after the first error, which
// names the digest of its document.
//
// skip, if not nil, is called for every entry of an index, and reports whether
// that entry is not followed. An entry of an unknown media type never is.
func Walk(root ocispec.Descriptor, read Reader, skip func(child ocispec.Descriptor) bool) iter.Seq2[Node, error] {
	return func(yield func(Node, error) bool) {
		w := walk{read: read, skip: skip, yield: yield, seen: map[digest.Digest]bool{}}
		if err := w.visit(root, 1); err != nil && !errors.Is(err, errStop) {
			yield(Node{}, err)
		}
	}
}

// errStop ends a walk whose loop was left.
var errStop = errors.New("loop was left")

type walk struct {
	read  Reader
	skip  func(ocispec.Descriptor) bool
	yield func(Node, error) bool
	seen  map[digest.Digest]bool // so that repeated children cost nothing
}

func (w *walk) visit(d ocispec.Descriptor, depth int) error {
	if w.seen[d.Digest] {
		return nil
	}
	w.seen[d.Digest] = true
	n, err := w.load(d, depth)
	if err != nil {
		return fmt.Errorf("image manifest %s: %w", d.Digest, err)
	}
	if !w.yield(n, nil) {
		return errStop
	}
	for _, child := range n.Manifests {
		if w.skip != nil && w.skip(child) || !Known(child.MediaType) {
			continue
		}
		if err := w.visit(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) load(d ocispec.Descriptor, depth int) (Node, error) {
	if depth > MaxDepth {
		return Node{}, fmt.Errorf("indexes nested deeper than %d", MaxDepth)
	}
	if err := Check(d.Digest, d.Size); err != nil {
		return Node{}, err
	}
	if d.Size > MaxSize {
		return Node{}, fmt.Errorf("document of %d bytes, allowed %d", d.Size, MaxSize)
	}
	body, err := w.read(d)
	if err != nil {
		return Node{}, err
	}
	doc, err := Parse(d.MediaType, body)
	if err != nil {
		return Node{}, err
	}
	d.MediaType, d.Size = doc.MediaType, int64(len(body))
	return Node{Descriptor: d, Body: body, Document: doc}, nil
}
