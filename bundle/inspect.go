package bundle

import (
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests"
)

// Summary describes a bundle for people and scripts.
type Summary struct {
	Name     string        `json:"name"`
	Sequence int64         `json:"sequence"`
	Created  time.Time     `json:"created"`
	Expires  time.Time     `json:"expires,omitzero"`
	Previous digest.Digest `json:"previous,omitempty"` // root of the bundle before it
	Root     digest.Digest `json:"root"`               // digest of index.json, which identifies the bundle
	Base     *Base         `json:"base,omitempty"`     // of a delta
	Signed   bool          `json:"signed"`
	Signer   string        `json:"signer,omitempty"` // fingerprint; empty unless SignatureChecked
	// SignatureChecked reports whether a trusted key made the signature.
	SignatureChecked bool `json:"signatureChecked"`
	// ClaimedSigner is the fingerprint that a bundle whose signature was not checked
	// claims; anyone may have put it there.
	ClaimedSigner string `json:"claimedSigner,omitempty"`

	Kubernetes string   `json:"kubernetes"` // version
	Arches     []string `json:"arches"`
	Distros    []string `json:"distros"`
	CNI        string   `json:"cni"`
	Runtime    string   `json:"runtime"`
	// AssumeInstalled is "minimal" if the bundle lacks the packages of a
	// minimal installation.
	AssumeInstalled string `json:"assumeInstalled,omitempty"`

	Blobs int   `json:"blobs"` // how many
	Bytes int64 `json:"bytes"` // of all blobs as stored, each once
	// Kinds are those that the bundle has, with its metadata as the last one.
	Kinds []KindSummary `json:"kinds"`
}

// Listing is a Summary with all artifacts.
type Listing struct {
	Summary
	Artifacts []ArtifactSummary `json:"artifacts"` // in the order of the Lock
}

// KindSummary counts the artifacts of one kind. Kind "metadata" is for the files
// of repositories that are not packages.
type KindSummary struct {
	Kind  string `json:"kind"`
	Count int    `json:"count"`
	Bytes int64  `json:"bytes"` // as stored; for images, with all their blobs
}

// ArtifactSummary is one line of a list of artifacts.
type ArtifactSummary struct {
	Kind     string        `json:"kind"`
	Name     string        `json:"name"`
	Version  string        `json:"version,omitempty"`
	Platform string        `json:"platform,omitempty"`
	Distro   string        `json:"distro,omitempty"`
	Path     string        `json:"path,omitempty"` // on the mirror, without the leading slash
	Digest   digest.Digest `json:"digest"`         // of the plain content; for images, of the index or manifest
	Bytes    int64         `json:"bytes"`          // as stored
	Trust    string        `json:"trust"`          // evidence for the digest: catalog, signature, checksum-file, first-use, local or attached
	Source   string        `json:"source"`         // URL
}

// KindMetadata is the kind of the files of Bundle.Metadata in summaries.
const KindMetadata = "metadata"

// Inspect lists an open bundle. It reads only image manifests from disk.
func Inspect(b *Bundle) (Listing, error) {
	c, l := b.config, b.lock
	s := Listing{Summary: Summary{
		Name: c.Name, Sequence: c.Sequence, Created: c.Created, Expires: c.Expires, Previous: c.Previous,
		Root: b.root, Base: b.base, Signed: b.head[MemberSignature] != nil,
		Kubernetes: l.Kubernetes, Arches: l.Arches, Distros: l.Distros, CNI: l.CNI, Runtime: l.Runtime, AssumeInstalled: l.AssumeInstalled,
		ClaimedSigner: b.ClaimedSigner(), Blobs: len(b.blobs),
	}}
	if signer, ok := b.Signer(); ok {
		s.Signer, s.SignatureChecked = signer.Fingerprint(), true
	}
	for _, d := range b.blobs {
		s.Bytes += d.Size
	}
	kinds := map[string]*KindSummary{}
	count := func(kind string, bytes int64) {
		if kinds[kind] == nil {
			kinds[kind] = &KindSummary{Kind: kind}
		}
		kinds[kind].Count++
		kinds[kind].Bytes += bytes
	}
	s.Artifacts = make([]ArtifactSummary, 0, len(l.Artifacts))
	for _, a := range l.Artifacts {
		line, err := b.summarise(a)
		if err != nil {
			return Listing{}, err
		}
		s.Artifacts = append(s.Artifacts, line)
		count(line.Kind, line.Bytes)
	}
	for _, f := range b.Metadata() {
		count(KindMetadata, f.Blob.Size)
	}
	for _, k := range append(slices.Clone(manifests.ArtifactKinds), KindMetadata) {
		if kinds[string(k)] != nil {
			s.Kinds = append(s.Kinds, *kinds[string(k)])
		}
	}
	return s, nil
}

func (b *Bundle) summarise(a manifests.Artifact) (ArtifactSummary, error) {
	s := ArtifactSummary{
		Kind: string(a.Kind), Name: a.Name, Version: a.Version, Platform: a.Platform, Distro: a.Distro,
		Digest: a.Blob.Digest, Bytes: a.Blob.Size, Trust: a.Source.Trust, Source: a.Source.URL,
	}
	if !a.Kind.InRegistry() {
		f := fileOf(a)
		s.Path, s.Digest = f.Label(), f.Plain.Digest
		return s, nil
	}
	all := newBlobSet(b.readDocument)
	if err := all.addImage(imageOf(a)); err != nil {
		return s, badArtifact("inspect", a.Name, err)
	}
	s.Bytes = 0
	for _, d := range all.blobs {
		s.Bytes += d.Size
	}
	return s, nil
}

// FormatSize formats a number of bytes, such as "1.5 MiB".
func FormatSize(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, suffix := float64(n), ""
	for _, s := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v < unit {
			break
		}
		v, suffix = v/unit, s
	}
	return fmt.Sprintf("%.1f %s", v, suffix)
}
