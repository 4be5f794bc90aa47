package fetch

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/selfbin"
	"github.com/offk8s/offk8s/manifests"
)

// SelfURL is the source of the offk8s binary in a Lock. The path on the packing
// machine does not go into a bundle.
const SelfURL = "offk8s:self"

// DigestFile returns the sha256 and the size of a local file, which must be a regular
// one: it is read again later.
func DigestFile(ctx context.Context, path string) (digest.Digest, int64, error) {
	f, _, err := reader.OpenFile(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	sum := &counter{}
	if _, err := io.Copy(sum, reader.Context(ctx, f)); err != nil {
		return "", 0, err
	}
	return sum.digest(), sum.n, nil
}

// fetchLocal stores the offk8s binary of a platform.
func (f *files) fetchLocal(ctx context.Context, group []*manifests.Artifact) error {
	missing, err := f.recallAll(group)
	if err != nil || len(missing) == 0 {
		return err
	}
	a := missing[0]
	if a.Source.URL != SelfURL {
		return fmt.Errorf("file %q with digest %s is not in the store: it was on the machine where the lock was made", a.Name, a.Source.Digest)
	}
	path, err := f.self(ctx, a.Arch(), a.Source.Digest)
	if err != nil {
		return err
	}
	file, _, err := reader.OpenFile(path)
	if err != nil {
		return err
	}
	defer file.Close()
	plain, blob, err := f.ingest(ctx, reader.Context(ctx, file))
	if err != nil {
		return err
	}
	if plain.Digest != a.Source.Digest {
		return &MismatchError{What: fmt.Sprintf("%q: digest", path), Found: plain.Digest.String(), Want: a.Source.Digest.String()}
	}
	return f.settle(missing, "", plain, blob)
}

// self returns the path of the binary for arch after verifying it.
func (e Env) self(ctx context.Context, arch string, want digest.Digest) (string, error) {
	path, ok := e.SelfBinaries[arch]
	if !ok {
		return "", fmt.Errorf("offk8s binary for linux/%s with digest %s is not in the store and none was given", arch, want)
	}
	if err := selfbin.Check(path, arch); err != nil {
		return "", err
	}
	got, _, err := DigestFile(ctx, path)
	if err != nil {
		return "", err
	}
	if got != want {
		return "", &MismatchError{What: fmt.Sprintf("offk8s binary for linux/%s: digest", arch), Found: got.String(), Want: want.String()}
	}
	return path, nil
}

// AddLocal stores a file of this machine for the artifacts of group, whose
// source has its digest, so that Pack finds it in the store.
func (e Env) AddLocal(ctx context.Context, path string, group []*manifests.Artifact) error {
	file, _, err := reader.OpenFile(path)
	if err != nil {
		return err
	}
	defer file.Close()
	plain, blob, err := e.ingest(ctx, reader.Context(ctx, file))
	if err != nil {
		return err
	}
	if want := group[0].Source.Digest; plain.Digest != want {
		return &MismatchError{What: fmt.Sprintf("%q: digest", path), Found: plain.Digest.String(), Want: want.String()}
	}
	return e.remember(record{Source: plain.Digest, Plain: plain, Blob: blob})
}
