package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

const (
	// partsSuffix is that of the list of parts, beside them.
	partsSuffix = ".parts.json"
	kindParts   = "Parts"
	// maxParts keeps the names of parts in their order when they are sorted.
	maxParts     = 999
	maxPartsList = 1 << 20 // bytes
	// partStart is how many bytes of a part Open compares with the list, so that it
	// notices parts that were swapped without reading all of them.
	partStart = 64 << 10
)

// partSuffix matches the end of the name of a part.
var partSuffix = strict.NewPattern(`\.part-[0-9]{3}$`)

// partName returns the path of part n, counted from 1, of the bundle at path.
func partName(path string, n int) string { return fmt.Sprintf("%s.part-%03d", path, n) }

// partList is the content of BUNDLE.parts.json. The bundle is signed without it: the
// list shows which part is bad, and lets people check a part alone.
type partList struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	Bundle     digest.Digest `json:"bundle"` // root
	Parts      []partEntry   `json:"parts"`
	// Signature is the signature of the document without this field, by the key of
	// the bundle; empty if the bundle is not signed.
	Signature []byte `json:"signature,omitempty"`
}

type partEntry struct {
	Size   int64         `json:"size"` // bytes
	Digest digest.Digest `json:"digest"`
	Start  digest.Digest `json:"start"` // of the first 64 KiB
}

// partSum makes the entry of a part while its bytes pass.
type partSum struct {
	partEntry
	start []byte
	sum   *hasher
}

func newPartSum() *partSum { return &partSum{sum: newHasher(digest.SHA256)} }

// add takes b, which is a part of a block.
func (p *partSum) add(of *block, b []byte) {
	p.start = append(p.start, b[:min(len(b), partStart-len(p.start))]...)
	p.Size += int64(len(b))
	p.sum.add(of, b)
}

// entry ends the part.
func (p *partSum) entry() partEntry {
	p.Digest, p.Start = p.sum.digest(), digest.FromBytes(p.start)
	return p.partEntry
}

// Locate returns the path of the bundle that name leads to, and its files. name is
// the path of a bundle in one file, or of a bundle in parts: without a suffix, or
// with that of a part or of the list of parts. The files may be incomplete; Open
// reports those that are missing.
func Locate(name string) (path string, files []string, err error) {
	path = partSuffix.Regexp().ReplaceAllString(strings.TrimSuffix(name, partsSuffix), "")
	if path == name {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return name, []string{name}, nil
		}
	}
	files, err = partFiles(path)
	if len(files) == 0 && (err == nil || errors.Is(err, fs.ErrNotExist)) {
		return name, []string{name}, nil
	}
	return path, files, err
}

// partFiles returns the parts of the bundle at path and their list, as far as they
// exist, sorted.
func partFiles(path string) ([]string, error) {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	var out []string
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), base); ok && (rest == partsSuffix || partSuffix.MatchString(rest) && len(rest) == len(".part-000")) {
			out = append(out, dir+e.Name())
		}
	}
	return out, err
}

// container is the tar of a bundle, open.
type container struct {
	*tarfile.File
	path  string
	parts *partList // nil for a bundle in one file
}

// openContainer opens the tar of the bundle that name leads to. It checks that its
// parts are those of the list, as far as the first bytes of each show.
func openContainer(ctx context.Context, name string) (*container, error) {
	path, files, err := Locate(name)
	if err != nil {
		return nil, err
	}
	c := &container{path: path}
	if !slices.Equal(files, []string{path}) {
		if c.parts, err = readPartList(path + partsSuffix); err != nil {
			return nil, err
		}
		if files, err = c.parts.check(path, files); err != nil {
			return nil, err
		}
	}
	if c.File, err = tarfile.OpenParts(ctx, files); err != nil {
		return nil, c.blame(ctx, tarFailure(err))
	}
	return c, nil
}

// readPartList reads the list of parts. Nothing vouches for it yet.
func readPartList(name string) (*partList, error) {
	raw, err := reader.ReadFile(name, maxPartsList)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, badPart(name, errors.New("is missing: it was not copied with the parts, or pack was interrupted"))
	}
	if err != nil {
		return nil, err
	}
	l, err := parsePartList(raw)
	if err != nil {
		return nil, badPart(name, err)
	}
	return l, nil
}

func parsePartList(raw []byte) (*partList, error) {
	l := &partList{}
	if err := decodeExact(raw, l); err != nil {
		return nil, err
	}
	if l.APIVersion != manifests.APIVersion || l.Kind != kindParts || len(l.Parts) == 0 || len(l.Parts) > maxParts {
		return nil, errors.New("is not the list of the parts of a bundle")
	}
	for _, p := range l.Parts {
		if err := errors.Join(image.Check(p.Digest, p.Size), image.Check(p.Start, p.Size)); err != nil {
			return nil, err
		}
	}
	return l, l.Bundle.Validate()
}

// badPart is an error of class ErrPart and ErrVerify.
func badPart(name string, err error) error {
	return badArtifact("open", name, &classified{ErrPart, err})
}

// check compares the parts that exist with the list and returns their paths. The
// error joins all problems.
func (l *partList) check(path string, found []string) ([]string, error) {
	var names []string
	var errs []error
	for i := range l.Parts {
		name := partName(path, i+1)
		names = append(names, name)
		if err := l.checkStart(name, i); err != nil {
			errs = append(errs, err)
		}
	}
	for _, name := range found {
		if name != path+partsSuffix && !slices.Contains(names, name) {
			errs = append(errs, badPart(name, fmt.Errorf("does not belong here: the list has %d parts", len(names))))
		}
	}
	return names, errors.Join(errs...)
}

// checkStart compares the size and the first bytes of part i, counted from 0, with
// the list.
func (l *partList) checkStart(name string, i int) error {
	want := l.Parts[i]
	f, info, err := reader.OpenFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return badPart(name, fmt.Errorf("is missing: expected part %d of %d, %d bytes with digest %s", i+1, len(l.Parts), want.Size, want.Digest))
	}
	if err != nil {
		return err
	}
	defer f.Close()
	start, err := digest.FromReader(io.LimitReader(f, partStart))
	if err != nil {
		return err
	}
	other := slices.IndexFunc(l.Parts, func(p partEntry) bool { return p.Start == start })
	switch {
	case start != want.Start && other >= 0:
		return badPart(name, fmt.Errorf("has the content of part %d, expected part %d with digest %s", other+1, i+1, want.Digest))
	case info.Size() != want.Size:
		return badPart(name, fmt.Errorf("has %d bytes, expected %d", info.Size(), want.Size))
	case start != want.Start:
		return badPart(name, fmt.Errorf("is damaged or of another bundle, expected part %d with digest %s", i+1, want.Digest))
	}
	return nil
}

// blame adds to an error of class ErrVerify those parts that differ from the list. It
// reads all of them, after a failure only.
func (c *container) blame(ctx context.Context, cause error) error {
	if c == nil || c.parts == nil || !errors.Is(cause, ErrVerify) || ctx.Err() != nil {
		return cause
	}
	var errs []error
	for i, want := range c.parts.Parts {
		name := partName(c.path, i+1)
		got, err := hashFile(ctx, name)
		if err != nil {
			return errors.Join(cause, err)
		}
		other := slices.IndexFunc(c.parts.Parts, func(p partEntry) bool { return p.Digest == got })
		switch {
		case got == want.Digest:
		case other >= 0:
			errs = append(errs, badPart(name, fmt.Errorf("has the content of part %d, expected part %d with digest %s", other+1, i+1, want.Digest)))
		default:
			errs = append(errs, badPart(name, fmt.Errorf("is damaged: digest %s, expected %s", got, want.Digest)))
		}
	}
	return errors.Join(append(errs, cause)...)
}

// hashFile returns the sha256 digest of a file.
func hashFile(ctx context.Context, name string) (digest.Digest, error) {
	f, _, err := reader.OpenFile(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return digest.FromReader(reader.Context(ctx, f))
}

// vouch checks that the list belongs to b and is signed by the key of b.
func (l *partList) vouch(b *Bundle, name string) error {
	if l.Bundle != b.root {
		return badPart(name, fmt.Errorf("is of another bundle: root %s, the parts have %s", l.Bundle, b.root))
	}
	payload, err := l.payload()
	if err != nil {
		return err
	}
	if err := b.checkSigned(payload, l.Signature); err != nil {
		return badPart(name, err)
	}
	return nil
}

// payload returns the bytes that are signed.
func (l *partList) payload() ([]byte, error) {
	unsigned := *l
	unsigned.Signature = nil
	return encode(unsigned)
}

// encodePartList returns BUNDLE.parts.json, signed by key unless it is nil.
func encodePartList(root digest.Digest, parts []partEntry, key *trust.KeyPair) ([]byte, error) {
	l := partList{APIVersion: manifests.APIVersion, Kind: kindParts, Bundle: root, Parts: parts}
	if key != nil {
		payload, err := l.payload()
		if err != nil {
			return nil, err
		}
		if l.Signature, err = key.SignIndex(payload); err != nil {
			return nil, err
		}
	}
	return encode(l)
}
