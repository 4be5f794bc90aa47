package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/apt"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/bundle/yum"
	"github.com/offk8s/offk8s/manifests"
)

// ErrSigned means that a bundle has a signature already.
var ErrSigned = errors.New("signed already")

// WriteOptions are the key and the output of Sign and Merge.
type WriteOptions struct {
	// Key signs; Merge needs it only for the list of parts of a signed bundle.
	Key *trust.KeyPair
	// Output and Split are as in PackOptions; Output may be the path of the bundle.
	Output string
	Split  int64
	// Progress is as in VerifyOptions.
	Progress func(done, total int64)
}

// Sign signs a bundle that was packed unsigned, and its repositories, and writes it as
// SealFile does: the same bytes as those of Pack with the same key. Everything that it
// reads is verified. A delta stays one; it needs its base only if both have the same
// metadata of a repository, or else the error is a *BaseError.
func Sign(ctx context.Context, b *Bundle, o WriteOptions) (Sealed, error) {
	if b.head[MemberSignature] != nil {
		return Sealed{}, fmt.Errorf("sign bundle %q: %w", b.Path(), ErrSigned)
	}
	metadata, signatures, err := b.signMetadata(o.Key)
	if err != nil {
		return Sealed{}, err
	}
	in := SealInput{Lock: b.lock, Metadata: metadata, Key: o.Key, Split: o.Split, Base: b.leftOut(), ReadBack: true}
	var done, total int64
	for _, d := range b.blobs {
		total += d.Size
	}
	in.Open = func(d digest.Digest) (io.ReadCloser, error) {
		if content, ok := signatures[d]; ok {
			return io.NopCloser(bytes.NewReader(content)), nil
		}
		r, err := b.Blob(d)
		if err != nil {
			return nil, err
		}
		done += r.Size()
		o.Progress(done, total)
		return section{r}, nil
	}
	return SealFile(ctx, o.Output, in)
}

// section is a part of the bundle, which stays open.
type section struct{ *io.SectionReader }

func (section) Close() error { return nil }

// PartSize returns the size of the parts of b, except for the last, in bytes; 0 if b is
// in one file.
func (b *Bundle) PartSize() int64 {
	if b.file == nil || b.file.parts == nil {
		return 0
	}
	return b.file.parts.Parts[0].Size
}

// leftOut returns the content of the base that a delta leaves out, nil if b is no delta.
func (b *Bundle) leftOut() *Inventory {
	switch {
	case b.base == nil:
		return nil
	case b.under != nil:
		return b.under.Inventory()
	}
	i := &Inventory{Bundle: *b.base}
	for d, blob := range b.blobs {
		if blob.member.Name == "" {
			i.Blobs = append(i.Blobs, d)
		}
	}
	slices.Sort(i.Blobs)
	return i
}

// signMetadata returns the metadata of the repositories with the signatures of key, and
// the content of these signatures.
func (b *Bundle) signMetadata(key *trust.KeyPair) (metadata []FileEntry, signatures map[digest.Digest][]byte, err error) {
	signatures = map[digest.Digest][]byte{}
	for _, f := range b.Metadata() {
		metadata = append(metadata, f)
		if !isSigned(f.Path) {
			continue
		}
		content, err := b.content(f.Blob)
		if err != nil {
			return nil, nil, badArtifact("sign", f.Label(), err)
		}
		files := map[string][]byte{f.Path: content}
		if err := addSignatures(files, key, b.lock.Created); err != nil {
			return nil, nil, &ArtifactError{"sign", f.Label(), err}
		}
		delete(files, f.Path)
		for name, content := range files {
			d := manifests.Descriptor{Digest: digest.FromBytes(content), Size: int64(len(content))}
			signatures[d.Digest] = content
			metadata = append(metadata, FileEntry{Group: f.Group, Path: name, MediaType: manifests.MediaTypeFile, Blob: d, Plain: d})
		}
	}
	return metadata, signatures, nil
}

// content returns the verified content of a small blob.
func (b *Bundle) content(d manifests.Descriptor) ([]byte, error) {
	if d.Size > maxDocument {
		return nil, fmt.Errorf("%d bytes, allowed %d", d.Size, maxDocument)
	}
	r, err := b.Blob(d.Digest)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader.Verify(r, d.Digest, d.Size))
}

// isSigned reports whether the file of a repository with this path has signatures, which
// cover the whole metadata.
func isSigned(name string) bool { return name == yum.RepomdPath || name == apt.ReleasePath }

// addSignatures adds to the metadata of a repository its signatures by key, dated
// created: dnf and apt look for them.
func addSignatures(files map[string][]byte, key *trust.KeyPair, created time.Time) error {
	if repomd, ok := files[yum.RepomdPath]; ok {
		sig, err := trust.SignDetached(key, repomd, created)
		files[yum.RepomdPath+".asc"] = sig
		return err
	}
	release, ok := files[apt.ReleasePath]
	if !ok {
		return nil
	}
	in, errIn := trust.ClearSign(key, release, created)
	detached, errDetached := trust.SignDetached(key, release, created)
	files[apt.InReleasePath], files[apt.DetachedPath] = in, detached
	return errors.Join(errIn, errDetached)
}
