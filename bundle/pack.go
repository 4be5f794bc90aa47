package bundle

import (
	"context"
	"errors"
	"log/slog"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// PackOptions say where Pack takes from and writes to.
type PackOptions struct {
	Client *fetch.Client
	Store  *store.Store
	// Key signs the repository metadata and the bundle.
	Key *trust.KeyPair
	// Output is the bundle file; an existing one is replaced at the end.
	Output string
	// Parallel bounds the downloads at a time; 0 means 4.
	Parallel int
	// SelfBinaries are needed only when the store lacks the offk8s binaries of
	// the Lock, as for a Lock made on another machine.
	SelfBinaries map[string]string
	// HostRoot is where the packing machine's own apt configuration is looked up; empty means "/".
	HostRoot string
	// VerifyAfterWrite reads the bundle back and hashes it before its rename.
	VerifyAfterWrite bool
	Progress         fetch.Progress // nil: none
	Log              *slog.Logger   // nil: none
}

// PackResult says what was packed.
type PackResult struct {
	Path   string
	Root   digest.Digest // of index.json
	Size   int64         // bytes of the file
	Counts map[manifests.ArtifactKind]int
	// FirstUse names the artifacts that no pinned digest or signature vouches for, sorted.
	FirstUse []string
}

// Pack fetches the artifacts of lock, makes the repository metadata, completes
// lock in place and seals it all into o.Output. Nothing else is written outside
// the store. When artifacts fail the others are fetched all the same, so that a
// second run needs only the rest; the error joins an *ArtifactError for each.
//
// The same Lock and key give the same bytes, also after an interrupted run.
func Pack(ctx context.Context, lock *manifests.Lock, o PackOptions) (PackResult, error) {
	return PackResult{}, errors.New("pack: under construction")
}
