package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/reader"
)

// Artifact is a file of the bundle on the host. Apply fetches the content from the
// mirror and verifies its digest, which the signed Lock must list, before the file
// gets its name.
type Artifact struct {
	// Digest is the digest of the plain content, manifests.Artifact.Plain.
	Digest digest.Digest `json:"digest"`
	Path   string        `json:"path"`
	Mode   Mode          `json:"mode,omitempty"` // default 0755
	Owner  string        `json:"owner,omitempty"`
	Group  string        `json:"group,omitempty"`
}

func (a *Artifact) Kind() string { return "artifact" }

func (a *Artifact) Target() Target { return Target{Path: a.Path} }

func (a *Artifact) Describe() string {
	return fmt.Sprintf("artifact %s %s %.19s", a.Path, a.mode(), a.Digest)
}

func (a *Artifact) Validate() error {
	errs := []error{checkPath("path", a.Path), a.Mode.check()}
	if err := a.Digest.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("digest %q: %w", a.Digest, err))
	}
	return errors.Join(errs...)
}

func (a *Artifact) mode() Mode {
	if a.Mode == 0 {
		return 0o755
	}
	return a.Mode
}

func (a *Artifact) Check(ctx context.Context, env *Env) (Result, error) {
	return env.checkFile(a.place(), func(path string) (string, error) {
		f, err := os.Open(env.Path(path))
		if err != nil {
			return "", err
		}
		defer f.Close()
		if a.Digest.Algorithm() == digest.Canonical {
			got, err := env.Digests.of(f, reader.Context(ctx, f))
			if err != nil || got == a.Digest {
				return "", err
			}
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return "", err
			}
		}
		_, err = io.Copy(io.Discard, reader.Verify(reader.Context(ctx, f), a.Digest, reader.AnySize))
		if errors.Is(err, reader.ErrMismatch) {
			return err.Error(), nil
		}
		return "", err
	})
}

func (a *Artifact) Apply(ctx context.Context, env *Env) (Result, error) {
	r, err := env.Fetch(ctx, a.Digest)
	if err != nil {
		return Result{}, fmt.Errorf("fetch %s for %q: %w", a.Digest, a.Path, err)
	}
	defer r.Close()
	return env.applyFile(a.place(), reader.Verify(r, a.Digest, reader.AnySize))
}

func (a *Artifact) Undo(_ context.Context, env *Env, prior json.RawMessage) error {
	return env.restore(a.Path, prior)
}

func (a *Artifact) place() place { return place{a.Path, a.mode(), a.Owner, a.Group} }
