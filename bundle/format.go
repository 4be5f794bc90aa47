package bundle

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/manifests"
)

// Names of the members before the blobs, in this order. An unsigned bundle
// lacks the second and third of them.
const (
	MemberLayout    = ocispec.ImageLayoutFile
	MemberIndex     = ocispec.ImageIndexFile
	MemberSignature = "index.json.sig"
	MemberSigstore  = "index.json.sigstore.json"
	MemberReadme    = "README.txt"
)

// TitlePublicKey is the title of the OpenPGP public key in the bundle artifact.
const TitlePublicKey = "offk8s.asc"

// Config is the config blob of the bundle artifact: what rollback and rotation
// checks compare. Times are UTC.
type Config struct {
	Name     string        `json:"name"`
	Sequence int64         `json:"sequence"`
	Created  time.Time     `json:"created"`
	Expires  time.Time     `json:"expires,omitzero"`
	Previous digest.Digest `json:"previous,omitempty"`
	// Keys are the P-256 public keys (PEM, PKIX) that may sign the next bundle
	// of this name, the signer of this one first.
	Keys []string `json:"keys"`
}

// ImageEntry is one image of a bundle.
type ImageEntry struct {
	Name       string             // as upstream: "registry.k8s.io/pause:3.10"
	Descriptor ocispec.Descriptor // of the index or manifest, as upstream serves it
	// Absent are the platform manifests of the index that the bundle does not hold.
	Absent []digest.Digest
}

// FileEntry is one file that the mirror serves at /<Group>/<Path>.
type FileEntry struct {
	Group string // "files", "yum/<distro>/<arch>", "apt/<distro>"
	Path  string
	// MediaType is manifests.MediaTypeFile, or MediaTypeFileZstd when Blob is
	// the zstd-compressed form of Plain.
	MediaType string
	Blob      manifests.Descriptor // as stored
	Plain     manifests.Descriptor // decoded content; equal to Blob when stored as it is
}
