package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// Sentinels that callers map to exit codes. errors.Is finds them in every error
// of this package.
var (
	// ErrVerify means that the content does not match the signed index: altered,
	// missing, extra or truncated members, a bad signature, an unknown key.
	ErrVerify = errors.New("verification failed")
	// ErrPolicy means that the bundle may be intact but must not be trusted: it
	// is unsigned, or no public key was given.
	ErrPolicy = errors.New("refused by policy")
	// ErrPart means that a part of a bundle in several parts, or the list of them, is
	// missing, damaged or of another bundle. The error is of class ErrVerify as well.
	ErrPart = errors.New("bad part")
	// ErrOtherBase means that a bundle was given as a base and is not the one that the
	// delta names.
	ErrOtherBase = errors.New("is not the base")
	// ErrOtherKey means that a key was to sign for a bundle and is not the one that made
	// the signature of the bundle.
	ErrOtherKey = errors.New("not the key of the bundle")
	// ErrInput means that Resolve was called with a Manifest that the catalog
	// cannot satisfy or that contradicts itself. The network was not used.
	ErrInput = errors.New("wrong input")
	// ErrNoSelf means that the offk8s binary of an architecture was not given. The
	// error is of class ErrInput as well.
	ErrNoSelf = errors.New("no binary was given")
)

// ArtifactError names the artifact or member of a bundle on which an operation
// failed.
type ArtifactError struct {
	Op       string // verb: "seal", "open", "verify", "fetch" …
	Artifact string // image name, "<group>/<path>", or tar member
	Err      error
}

// Error returns "op: artifact: cause".
func (e *ArtifactError) Error() string {
	return fmt.Sprintf("%s: %q: %v", e.Op, e.Artifact, e.Err)
}

// Unwrap returns the cause.
func (e *ArtifactError) Unwrap() error { return e.Err }

// classified attaches a sentinel to an error without changing its text.
type classified struct {
	class error
	err   error
}

func (c *classified) Error() string   { return c.err.Error() }
func (c *classified) Unwrap() []error { return []error{c.err, c.class} }

// verifyFailure marks err as ErrVerify.
func verifyFailure(err error) error { return &classified{ErrVerify, err} }

// policyFailure marks err as ErrPolicy.
func policyFailure(err error) error { return &classified{ErrPolicy, err} }

// inputFailure marks err as ErrInput.
func inputFailure(err error) error { return &classified{ErrInput, err} }

// badArtifact returns an ArtifactError of class ErrVerify, unless err is an I/O
// error or the end of a context: if a device fails, the bundle was not tampered
// with.
func badArtifact(op, artifact string, err error) error {
	_, device := errors.AsType[*fs.PathError](err)
	if device || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &ArtifactError{Op: op, Artifact: artifact, Err: err}
	}
	return &ArtifactError{Op: op, Artifact: artifact, Err: verifyFailure(err)}
}
