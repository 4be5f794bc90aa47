package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/unpack"
	"github.com/offk8s/offk8s/manifests"
)

// files fetches binaries and plain files, single or as members of an archive.
type files struct{ Env }

func (*files) Kind() manifests.ArtifactKind { return manifests.KindFile }

func (f *files) Fetch(ctx context.Context, group []*manifests.Artifact, task Task) error {
	if group[0].Source.Trust == manifests.TrustLocal {
		return f.fetchLocal(ctx, group)
	}
	missing, err := f.recallAll(group)
	if err != nil || len(missing) == 0 {
		return err
	}
	source := missing[0].Source
	part, err := f.partial(source.URL, source.Digest)
	if err != nil {
		return err
	}
	d := &download{client: f.Client, url: source.URL, want: source.Digest, size: source.Size, path: part, task: task}
	s, err := d.run(ctx)
	if err != nil {
		return err
	}
	if err := f.take(ctx, part, s, missing); err != nil {
		return err
	}
	return removePart(part)
}

// recallAll completes the artifacts that an earlier run stored and returns the
// others.
func (e Env) recallAll(group []*manifests.Artifact) (missing []*manifests.Artifact, err error) {
	for _, a := range group {
		r, ok := e.recall(a)
		if !ok {
			missing = append(missing, a)
			continue
		}
		if err := fill(a, r.Plain, r.Blob); err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// take stores the file at path, or its members for group. The file is verified
// and has the digests s.
func (f *files) take(ctx context.Context, path string, s sums, group []*manifests.Artifact) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if group[0].Source.Member == "" {
		plain, blob, err := f.whole(ctx, file, s)
		if err != nil {
			return err
		}
		return f.settle(group, "", plain, blob)
	}
	var names []string
	for _, a := range group {
		names = append(names, a.Source.Member)
	}
	return unpack.Members(ctx, file, names, func(name string, size int64, r io.Reader) error {
		plain, blob, err := f.ingest(ctx, r)
		if err == nil && plain.Size != size {
			err = fmt.Errorf("member %q has %d bytes, its header says %d", name, plain.Size, size)
		}
		if err != nil {
			return err
		}
		return f.settle(group, name, plain, blob)
	})
}

// whole stores a file. If the file is compressed already, it is moved into the
// store unchanged; otherwise it goes through ingest.
func (f *files) whole(ctx context.Context, file *os.File, s sums) (plain, blob manifests.Descriptor, err error) {
	head := make([]byte, 16)
	n, err := file.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return plain, blob, err
	}
	if !isCompressed(head[:n]) {
		return f.ingest(ctx, file)
	}
	blob = manifests.Descriptor{MediaType: manifests.MediaTypeFile, Digest: s.sha256, Size: s.size}
	return blob, blob, f.Store.Import(file.Name(), blob)
}

// settle records the stored content and completes the artifacts of that member.
func (e Env) settle(group []*manifests.Artifact, member string, plain, blob manifests.Descriptor) error {
	if err := e.remember(record{Source: group[0].Source.Digest, Member: member, Plain: plain, Blob: blob}); err != nil {
		return err
	}
	for _, a := range group {
		if a.Source.Member != member {
			continue
		}
		if err := fill(a, plain, blob); err != nil {
			return err
		}
	}
	return nil
}

// checkSuffix returns an error if the name in the URL has the suffix of a format
// that the file does not begin with, such as the web page of a login.
func checkSuffix(path, rawURL, mediaType string) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return err
	}
	want, known := magic[strings.ToLower(filepath.Ext(u.Path))]
	if !known {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, len(want))
	if _, err := io.ReadFull(f, head); err == nil && string(head) == want {
		return nil
	}
	return &MismatchError{
		What: "content", Found: cmp.Or(mediaType, "another format"),
		Want: fmt.Sprintf("the format that %q names", filepath.Base(u.Path)),
	}
}

// FirstUse downloads url, whose digest is not known, and returns its digest and
// size. The content stays in the store's directory for partial downloads under
// that digest, for the following Fetch.
func (e Env) FirstUse(ctx context.Context, url string, task Task) (digest.Digest, int64, error) {
	part, err := e.partial(url, "")
	if err != nil {
		return "", 0, err
	}
	d := &download{client: e.Client, url: url, path: part, task: task}
	s, err := d.run(ctx)
	if err != nil {
		return "", 0, err
	}
	if err := checkSuffix(part, url, d.answer); err != nil {
		return "", 0, errors.Join(err, removePart(part))
	}
	final, err := e.partial(url, s.sha256)
	if err != nil {
		return "", 0, err
	}
	if err := os.Rename(part, final); err != nil {
		return "", 0, err
	}
	return s.sha256, s.size, nil
}
