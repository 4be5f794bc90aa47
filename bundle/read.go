package bundle

import (
	"context"
	"fmt"
	"io"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// readVerified reads exactly the content of d; the caller has bounded its size.
func readVerified(r io.Reader, d ocispec.Descriptor) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, d.Size+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != d.Size {
		return nil, verifyFailure(fmt.Errorf("%s has %d bytes or more, expected %d", d.Digest, len(b), d.Size))
	}
	if got := d.Digest.Algorithm().FromBytes(b); got != d.Digest {
		return nil, verifyFailure(fmt.Errorf("content is %s, expected %s", got, d.Digest))
	}
	return b, nil
}

// contextReader ends with the error of its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// newRootIndex returns index.json but for its annotations: the images, then
// the index of everything else.
func newRootIndex(images []ImageEntry, nested ocispec.Descriptor) ocispec.Index {
	x := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
	x.SchemaVersion = 2
	for _, e := range images {
		x.Manifests = append(x.Manifests, e.Descriptor)
	}
	x.Manifests = append(slices.Clip(x.Manifests), nested)
	return x
}
