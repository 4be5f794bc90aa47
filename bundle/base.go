package bundle

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

const kindBase = "Base"

// Base identifies the bundle that has the blobs which a delta leaves out.
type Base struct {
	Name     string        `json:"name"`
	Sequence int64         `json:"sequence"`
	Root     digest.Digest `json:"root"`
}

// String returns name, sequence and root.
func (b Base) String() string {
	return fmt.Sprintf("%s, sequence %d, root %s", b.Name, b.Sequence, b.Root)
}

// baseDocument is the content of MemberBase.
type baseDocument struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	Bundle     digest.Digest `json:"bundle"` // root of the delta, and of the whole bundle
	Base       Base          `json:"base"`
	// Signature is as in partList.
	Signature []byte `json:"signature,omitempty"`
}

// BaseError means that a delta was opened without its base, which is needed.
type BaseError struct {
	Path string // of the delta
	Base Base
}

// Error names the base.
func (e *BaseError) Error() string {
	return fmt.Sprintf("bundle %q has only what its base lacks, and the base is missing: %s", e.Path, e.Base)
}

// encodeBase returns MemberBase for a bundle with this root.
func encodeBase(root digest.Digest, base Base, key *trust.KeyPair) ([]byte, error) {
	if base.Root == root {
		return nil, fmt.Errorf("%w: it is the same bundle", ErrOtherBase)
	}
	doc := baseDocument{
		APIVersion: manifests.APIVersion, Kind: kindBase, Bundle: root, Base: base,
	}
	if key != nil {
		payload, err := encode(doc)
		if err != nil {
			return nil, err
		}
		if doc.Signature, err = key.SignIndex(payload); err != nil {
			return nil, err
		}
	}
	return encode(doc)
}

// readBase reads MemberBase, if the bundle has it.
func (b *Bundle) readBase() error {
	raw := b.head[MemberBase]
	if raw == nil {
		return nil
	}
	var doc baseDocument
	if err := decodeExact(raw, &doc); err != nil {
		return badArtifact("open", MemberBase, err)
	}
	signature := doc.Signature
	doc.Signature = nil
	payload, err := encode(doc)
	switch {
	case err != nil:
		return err
	case doc.APIVersion != manifests.APIVersion || doc.Kind != kindBase || doc.Base.Root.Validate() != nil || doc.Base.Root == b.root:
		return badArtifact("open", MemberBase, errors.New("is not the base of a bundle"))
	case doc.Bundle != b.root:
		return badArtifact("open", MemberBase, fmt.Errorf("is of the bundle with the root %s", doc.Bundle))
	}
	if err := b.checkSigned(payload, signature); err != nil {
		return badArtifact("open", MemberBase, err)
	}
	b.base = &doc.Base
	return nil
}

// checkSigned checks that the key of the bundle made signature over a document that
// belongs to the bundle, or that neither is signed.
func (b *Bundle) checkSigned(payload, signature []byte) error {
	if b.maker == nil {
		if signature != nil {
			return errors.New("is signed, the bundle is not")
		}
		return nil
	}
	if _, err := trust.VerifyIndex(payload, signature, []trust.PublicKey{*b.maker}); err != nil {
		return fmt.Errorf("%v; expected the signature of the key of the bundle", err)
	}
	return nil
}

// Base returns the bundle that has the blobs which b leaves out, and false if b is
// no delta.
func (b *Bundle) Base() (Base, bool) {
	if b.base == nil {
		return Base{}, false
	}
	return *b.base, true
}

// Whole returns a *BaseError unless b and the bases that were opened with it have
// every blob.
func (b *Bundle) Whole() error {
	for _, d := range b.Blobs() {
		if _, _, err := b.member(d); err != nil {
			return err
		}
	}
	return nil
}

// member returns the tar member of a blob and the bundle that has it: b or one of its
// bases.
func (b *Bundle) member(d digest.Digest) (*Bundle, tarfile.Member, error) {
	blob := b.blobs[d]
	switch {
	case blob == nil:
		return nil, tarfile.Member{}, fmt.Errorf("blob %q: %w", d, errNoBlob)
	case blob.member.Name != "":
		return b, blob.member, nil
	}
	last := b
	for at := b.under; at != nil; at = at.under {
		if m, ok := at.index.Lookup(blobName(d)); ok {
			return at, m, nil
		}
		last = at
	}
	if last.base == nil {
		return nil, tarfile.Member{}, verifyFailure(fmt.Errorf("blob %q: bundle %q leaves it out, and its base lacks it", d, b.Path()))
	}
	return nil, tarfile.Member{}, &BaseError{Path: b.Path(), Base: *last.base}
}

// openBases opens the base of b, its base, and so on, among the bundles that names lead
// to. A base is the right one if it has the root that the delta names, whoever signed it.
func (b *Bundle) openBases(ctx context.Context, names []string) error {
	for at := b; len(names) > 0; at = at.under {
		if at.base == nil {
			return fmt.Errorf("bundle %q: %w of %q", names[0], ErrOtherBase, b.Path())
		}
		var errs []error
		found := slices.IndexFunc(names, func(name string) bool {
			base, err := openOne(ctx, name, OpenOptions{root: at.base.Root})
			at.under = base
			errs = append(errs, err)
			return err == nil
		})
		if found < 0 {
			return fmt.Errorf("%w\nthe base of %q is %s", errors.Join(errs...), at.Path(), at.base)
		}
		names = slices.Delete(slices.Clone(names), found, found+1)
	}
	return b.checkBases()
}

// checkBases checks that the bases have the blobs that b leaves out, in their sizes,
// unless a base is missing.
func (b *Bundle) checkBases() error {
	for d, want := range b.blobs {
		_, m, err := b.member(d)
		if _, missing := errors.AsType[*BaseError](err); missing {
			continue
		}
		if err == nil && m.Size != want.Size {
			err = fmt.Errorf("the base has %d bytes, expected %d", m.Size, want.Size)
		}
		if err != nil {
			return badArtifact("open", want.label, err)
		}
	}
	return nil
}
