package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// defaultParallel is how many downloads run at a time.
const defaultParallel = 4

// PackOptions are the sources and the output of Pack.
type PackOptions struct {
	Client *fetch.Client
	Store  *store.Store
	// Key signs the repository metadata and the bundle, unless Unsigned leaves that to
	// Sign.
	Key      *trust.KeyPair
	Unsigned bool
	// Output is the bundle file; an existing one is replaced at the end. A bundle of more
	// than Split bytes is written in parts beside it; 0 means one file.
	Output string
	Split  int64
	// Base, if it is set, makes a delta that leaves out content of Base.
	Base *Inventory
	// Parallel bounds the downloads at a time; 0 means 4.
	Parallel int
	// SelfBinaries are the paths of offk8s binaries by architecture. They are
	// needed only if the store lacks those of the Lock, as for a Lock that was
	// made on another machine.
	SelfBinaries map[string]string
	// HostRoot is the directory with the apt configuration of the packing machine; empty means "/".
	HostRoot string
	// VerifyAfterWrite reads the bundle back and verifies it before it is renamed.
	VerifyAfterWrite bool
	// Ready, if it is set, is called when all upstreams that are needed answer, before the
	// first download; its error ends Pack.
	Ready func() error
	// Check is as in SealInput.
	Check func(ctx context.Context, path string) error
	// ImageSigners are as those of Bundle.VerifyImages.
	ImageSigners []ImageSigner
	// Require is as in ResolveOptions; for a Lock that was resolved without it.
	Require  Require
	Progress fetch.Progress // nil: none
	Log      *slog.Logger   // nil: none
}

// PackResult describes a bundle that Pack has written.
type PackResult struct {
	Path   string
	Root   digest.Digest // of index.json
	Size   int64         // bytes of the bundle
	Files  []SealedFile  // the bundle, or its parts and the list of them
	Counts map[manifests.ArtifactKind]int
	// FirstUse has the names of artifacts without a pinned digest or a signature, sorted.
	FirstUse []string
}

// PartialError means that some artifacts could not be fetched. The others are in
// the store, and a second run fetches only the rest. errors.Is and errors.As
// examine every failure.
type PartialError struct {
	Failed []error // each an *ArtifactError
	Total  int     // downloads that were attempted
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("%d of %d downloads failed:\n%v", len(e.Failed), e.Total, errors.Join(e.Failed...))
}

// Unwrap returns the failures.
func (e *PartialError) Unwrap() []error { return e.Failed }

// Pack fetches the artifacts of lock, writes the repository metadata, completes
// lock in place and seals everything into o.Output. Nothing else is written
// outside the store. If artifacts fail, the others are fetched nevertheless and
// the error is a *PartialError. Content that does not match lock gives an error
// of class ErrVerify.
//
// The same Lock and key give the same bytes, even after an interrupted run.
func Pack(ctx context.Context, lock *manifests.Lock, o PackOptions) (PackResult, error) {
	r, err := pack(ctx, lock, o)
	if err != nil {
		return PackResult{}, fmt.Errorf("pack: %w", err)
	}
	return r, nil
}

func pack(ctx context.Context, lock *manifests.Lock, o PackOptions) (PackResult, error) {
	if err := o.check(lock); err != nil {
		return PackResult{}, err
	}
	client, err := withHostArchives(o.Client, lock, o.HostRoot)
	if err != nil {
		return PackResult{}, fmt.Errorf("apt sources: %w", err)
	}
	env := newEnv(client, o.Store, lock, o.SelfBinaries)
	env.Packages = new(fetch.Packages)
	if err := errors.Join(reach(ctx, client, env, lock, nil)...); err != nil {
		return PackResult{}, err
	}
	if o.Ready != nil {
		if err := o.Ready(); err != nil {
			return PackResult{}, err
		}
	}
	fetchers := fetch.Fetchers(env)
	if err := fetchAll(ctx, lock, fetchers, o); err != nil {
		return PackResult{}, err
	}
	if err := storedImages(lock, o.Store).verify(o.ImageSigners); err != nil {
		return PackResult{}, err
	}
	slices.SortStableFunc(lock.Artifacts, manifests.CompareArtifacts)
	metadata, err := repositories{lock, o.Store, o.Key, env.Packages}.write(ctx)
	if err != nil {
		return PackResult{}, err
	}
	task := o.Progress.Start("seal "+o.Output, 0)
	sealed, err := SealFile(ctx, o.Output, SealInput{
		Lock: lock, Metadata: metadata, Key: o.Key, Split: o.Split, Base: o.Base, ReadBack: o.VerifyAfterWrite, Check: o.Check,
		Open:   func(d digest.Digest) (io.ReadCloser, error) { return o.Store.Get(d) },
		stored: o.Store.Dir(),
	})
	task.Done(err)
	if err != nil {
		return PackResult{}, heal(ctx, o.Store, err)
	}
	return result(lock, o.Output, sealed), nil
}

// setDefaults fills in the fields that may be empty.
func (o *PackOptions) setDefaults() {
	if o.Parallel <= 0 {
		o.Parallel = defaultParallel
	}
	if o.Progress == nil {
		o.Progress = fetch.Silent()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// check sets defaults and validates the options and lock.
func (o *PackOptions) check(lock *manifests.Lock) error {
	o.setDefaults()
	if (o.Key == nil) != o.Unsigned {
		return policyFailure(errors.New("no signing key"))
	}
	if o.Output == "" {
		return errors.New("no output file")
	}
	errs := append(unusedSigners(lock, o.ImageSigners), o.Require.refusals(lock, o.ImageSigners)...)
	return errors.Join(append(errs, lock.Validate())...)
}

// fetchAll fetches every artifact into the store, o.Parallel at a time.
func fetchAll(ctx context.Context, lock *manifests.Lock, fetchers []fetch.Fetcher, o PackOptions) error {
	byKind := map[manifests.ArtifactKind]fetch.Fetcher{}
	for _, f := range fetchers {
		byKind[f.Kind()] = f
	}
	groups := fetch.Group(lock.Artifacts)
	var mu sync.Mutex
	var failed []error
	var g errgroup.Group
	g.SetLimit(o.Parallel)
	for _, group := range groups {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := fetchGroup(ctx, byKind, group, o.Progress); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(failed) == 0 {
		return nil
	}
	manifests.SortErrors(failed)
	return &PartialError{Failed: failed, Total: len(groups)}
}

func fetchGroup(ctx context.Context, byKind map[manifests.ArtifactKind]fetch.Fetcher, group []*manifests.Artifact, p fetch.Progress) error {
	label := fetch.Label(group)
	f, ok := byKind[group[0].Kind]
	if !ok {
		return &ArtifactError{Op: "fetch", Artifact: label, Err: fmt.Errorf("unknown kind %q", group[0].Kind)}
	}
	task := p.Start(label, group[0].Source.Size)
	err := f.Fetch(ctx, group, task)
	task.Done(err)
	if err != nil {
		return &ArtifactError{Op: "fetch", Artifact: label, Err: classify(err)}
	}
	return nil
}

// heal removes damaged blobs from the store, so that the next run fetches them
// again instead of failing with the same error.
func heal(ctx context.Context, s *store.Store, cause error) error {
	if !errors.Is(cause, ErrVerify) || ctx.Err() != nil {
		return cause
	}
	bad, err := s.Verify(ctx)
	for _, d := range bad {
		err = errors.Join(err, s.Remove(d))
	}
	if err != nil {
		return errors.Join(cause, err)
	}
	if len(bad) > 0 {
		return fmt.Errorf("%w; removed %d damaged files from the cache, run it again", cause, len(bad))
	}
	return cause
}

func result(lock *manifests.Lock, output string, sealed Sealed) PackResult {
	r := PackResult{Path: output, Root: sealed.Root, Size: sealed.Size(), Files: sealed.Files, Counts: map[manifests.ArtifactKind]int{}}
	for _, a := range lock.Artifacts {
		r.Counts[a.Kind]++
		if a.Source.Trust == manifests.TrustFirstUse {
			r.FirstUse = append(r.FirstUse, a.Name)
		}
	}
	slices.Sort(r.FirstUse)
	r.FirstUse = slices.Compact(r.FirstUse)
	return r
}
