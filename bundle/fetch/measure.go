package fetch

import (
	"context"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/manifests"
)

// Piece is content that has to be downloaded or that the store has already.
type Piece struct {
	Digest digest.Digest // of the address if that of the content is not known
	Size   int64         // bytes; 0 if upstream does not say
	Stored bool
}

// Measurer finds out the size of a download before Fetch starts it. It asks upstreams for metadata only.
type Measurer struct{ images *images }

// NewMeasurer returns a Measurer.
func NewMeasurer(e Env) *Measurer { return &Measurer{newImages(e)} }

// Measure returns the pieces of the artifacts of group, which all have the same source.
func (m *Measurer) Measure(ctx context.Context, group []*manifests.Artifact) ([]Piece, error) {
	a, e := group[0], m.images.Env
	if a.Kind.InRegistry() {
		return m.image(ctx, a)
	}
	if a.Kind == manifests.KindChart && isOCI(a.Source) {
		_, layer, err := m.images.layer(ctx, a.Source, Silent().Start("", 0))
		return []Piece{{layer.Digest, layer.Size, e.Store.Has(layer.Digest)}}, err
	}
	p := Piece{Digest: a.Source.Digest, Size: a.Source.Size, Stored: e.Cached(ctx, group)}
	if p.Digest == "" {
		p.Digest = digest.FromString(a.Source.URL)
	}
	if p.Size != 0 || a.Source.Trust == manifests.TrustLocal {
		return []Piece{p}, nil
	}
	if !p.Stored {
		var err error
		p.Size, err = e.Client.Size(ctx, a.Source.URL)
		return []Piece{p}, err
	}
	for _, x := range group {
		if r, ok := e.recall(x); ok {
			p.Size += r.Blob.Size
		}
	}
	return []Piece{p}, nil
}

// image returns the documents and blobs of an image; the documents are fetched.
func (m *Measurer) image(ctx context.Context, a *manifests.Artifact) ([]Piece, error) {
	w, err := m.images.walkOf(a, Silent().Start("", 0))
	if err != nil {
		return nil, err
	}
	root, err := w.documents(ctx, ocispec.Descriptor{Digest: a.Source.Digest})
	if err != nil {
		return nil, err
	}
	out := []Piece{{root.Digest, root.Size, true}}
	for _, b := range w.blobs {
		out = append(out, Piece{b.Digest, b.Size, m.images.Store.Has(b.Digest)})
	}
	return out, nil
}

// Size returns the length of the file at rawURL, 0 if the server does not say.
func (c *Client) Size(ctx context.Context, rawURL string) (size int64, err error) {
	target, err := c.URL(rawURL)
	if err != nil {
		return 0, err
	}
	err = c.retry(ctx, rawURL, func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodHead, target, nil)
		if err != nil {
			return false, permanent{err}
		}
		resp, err := c.http.Do(req)
		if err != nil {
			return false, err
		}
		size = max(resp.ContentLength, 0)
		if err := resp.Body.Close(); err != nil {
			return false, err
		}
		// Signed addresses of object stores are for GET alone.
		if slices.Contains([]int{http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented}, resp.StatusCode) {
			size = 0
			return false, nil
		}
		if resp.StatusCode != http.StatusOK {
			return false, statusError(target, resp)
		}
		return false, nil
	})
	if err != nil {
		return 0, named(err, target)
	}
	return size, nil
}
