package step

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Artifact is a file of the bundle at a path of the host. The content is
// fetched from the mirror and its digest, which the signed Lock must list, is
// verified before the file gets its name.
type Artifact struct {
	// Digest is that of the plain content (manifests.Artifact.Plain).
	Digest digest.Digest `json:"digest"`
	Path   string        `json:"path"`
	Mode   Mode          `json:"mode,omitempty"` // 0755 when empty
	Owner  string        `json:"owner,omitempty"`
	Group  string        `json:"group,omitempty"`
}

// Kind returns "artifact".
func (a *Artifact) Kind() string { return "artifact" }

// Describe names path, mode and the start of the digest.
func (a *Artifact) Describe() string {
	return fmt.Sprintf("artifact %s %s %.19s", a.Path, a.mode(), a.Digest)
}

// Validate checks digest, path and mode.
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
