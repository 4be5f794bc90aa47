package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

var errNoBlob = fmt.Errorf("not in this bundle: %w", fs.ErrNotExist)

// headLimits are the members before the blobs in their order, and how many
// bytes each may have.
var headLimits = []struct {
	name     string
	limit    int64
	required bool
}{
	{MemberLayout, int64(len(layoutFile)), true},
	{MemberIndex, maxDocument, true},
	{MemberSignature, 1 << 10, false},
	{MemberSigstore, 4 << 10, false},
	{MemberReadme, 64 << 10, true},
}

// readHead reads the members before the blobs; nothing is trusted yet.
func (b *Bundle) readHead() error {
	b.head = map[string][]byte{}
	members := b.index.Members()
	for _, h := range headLimits {
		if len(members) == 0 || members[0].Name != h.name {
			if !h.required {
				continue
			}
			return badArtifact("open", h.name, fmt.Errorf("not in its place, found %s", firstName(members)))
		}
		m := members[0]
		if m.Size > h.limit {
			return badArtifact("open", h.name, fmt.Errorf("%d bytes, allowed %d", m.Size, h.limit))
		}
		content := make([]byte, m.Size)
		if _, err := io.ReadFull(io.NewSectionReader(b.r, m.Offset, m.Size), content); err != nil {
			return &ArtifactError{"open", h.name, err}
		}
		b.head[h.name] = content
		members = members[1:]
	}
	if string(b.head[MemberLayout]) != layoutFile {
		return badArtifact("open", MemberLayout, fmt.Errorf("found %q, expected %q", b.head[MemberLayout], layoutFile))
	}
	if (b.head[MemberSignature] == nil) != (b.head[MemberSigstore] == nil) {
		return badArtifact("open", MemberSignature, fmt.Errorf("%s without %s, or the other way round", MemberSignature, MemberSigstore))
	}
	return inOrder(members)
}

func firstName(members []tarfile.Member) string {
	if len(members) == 0 {
		return "the end"
	}
	return fmt.Sprintf("%q", members[0].Name)
}

// inOrder demands that the members after the head are blobs in strict order.
func inOrder(members []tarfile.Member) error {
	for i, m := range members {
		if !strings.HasPrefix(m.Name, "blobs/") {
			return badArtifact("open", m.Name, errors.New("does not belong to a bundle"))
		}
		if i > 0 && m.Name <= members[i-1].Name {
			return badArtifact("open", m.Name, fmt.Errorf("out of order after %q", members[i-1].Name))
		}
	}
	return nil
}

// checkSignature decides whether index.json may be parsed.
func (b *Bundle) checkSignature(o OpenOptions) error {
	index, sig := b.head[MemberIndex], b.head[MemberSignature]
	b.root = digest.FromBytes(index)
	switch {
	case sig == nil && o.AllowUnsigned:
		return nil
	case len(o.Keys) == 0 && o.AllowUnsigned:
		return nil // checkSelfSigned looks at it
	}
	signer, err := trust.VerifyIndex(index, sig, o.Keys)
	switch {
	case errors.Is(err, trust.ErrUnsigned), errors.Is(err, trust.ErrNoKey):
		return policyFailure(err)
	case errors.Is(err, trust.ErrUnknownKey) && b.claimsSigner(o.Keys):
		return badArtifact("open", MemberIndex, fmt.Errorf("%w: altered after a trusted key signed it", trust.ErrBadSignature))
	case err != nil:
		return badArtifact("open", MemberSignature, err)
	}
	b.signer = &signer
	return b.checkSigstore(signer)
}

// claimsSigner reports whether the Sigstore bundle names one of keys.
func (b *Bundle) claimsSigner(keys []trust.PublicKey) bool {
	return slices.ContainsFunc(keys, func(k trust.PublicKey) bool {
		return trust.SigstoreHints(b.head[MemberSigstore], k)
	})
}

func (b *Bundle) checkSigstore(signer trust.PublicKey) error {
	want, err := trust.SigstoreBundle(b.head[MemberIndex], b.head[MemberSignature], signer)
	if err != nil {
		return err
	}
	if !bytes.Equal(b.head[MemberSigstore], want) {
		return badArtifact("open", MemberSigstore, fmt.Errorf("is not the Sigstore form of %s", MemberSignature))
	}
	return nil
}

// checkSelfSigned checks a signature that nobody vouches for with the keys that
// the bundle names, so that accidents are noticed even then.
func (b *Bundle) checkSelfSigned() error {
	if b.signer != nil || b.head[MemberSignature] == nil {
		return nil
	}
	keys, err := trust.ParsePublicKeys([]byte(strings.Join(b.config.Keys, "")))
	if err != nil {
		return badArtifact("open", "config", err)
	}
	signer, err := trust.VerifyIndex(b.head[MemberIndex], b.head[MemberSignature], keys)
	if err != nil {
		return badArtifact("open", MemberSignature, err)
	}
	return b.checkSigstore(signer)
}

// checkReadme compares README.txt with its digest in index.json.
func (b *Bundle) checkReadme(annotations map[string]string) error {
	got := digest.FromBytes(b.head[MemberReadme]).String()
	if want := annotations[manifests.AnnotationReadme]; got != want {
		return badArtifact("open", MemberReadme, fmt.Errorf("content is %s, index.json says %q", got, want))
	}
	return nil
}
