package agent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/reader"
)

// keep stores a verified document for the next phase.
func (c *Content) keep(name string, b []byte) error {
	if c.env == nil {
		return nil
	}
	if err := os.MkdirAll(c.env.Path(headDir), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(c.env.Path(headDir+"/"+name), b, 0o600)
}

// kept returns a document that keep stored; it must be verified again.
func (c *Content) kept(name string) ([]byte, error) {
	if c.env == nil {
		return nil, os.ErrNotExist
	}
	return c.env.ReadFile(headDir + "/" + name)
}

// Has asks the mirror for a path, "/files/linux/amd64/kubelet", and returns nil
// when it has it.
func (c *Content) Has(ctx context.Context, path string) error {
	r, err := c.send(ctx, http.MethodHead, path)
	if err != nil {
		return err
	}
	return r.Close()
}

// open is step.Env.Fetch: an artifact of the Lock by its plain digest.
func (c *Content) open(ctx context.Context, plain string) (io.ReadCloser, error) {
	d, err := digest.Parse(plain)
	if err != nil {
		return nil, fmt.Errorf("digest %q: %w", plain, err)
	}
	a, ok := c.files[d]
	if !ok {
		return nil, fmt.Errorf("%w: %s is not in the bundle's Lock", ErrVerify, plain)
	}
	// No Accept-Encoding: the mirror decodes what it stores compressed.
	r, err := c.get(ctx, "/"+a.Group+"/"+a.Path)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{reader.Verify(r, d, a.Plain.Size), r}, nil
}
