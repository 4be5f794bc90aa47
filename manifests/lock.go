package manifests

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests/catalog"
)

// ArtifactKind is the kind of one artifact; each has its fetcher in bundle/fetch.
type ArtifactKind string

// The artifact kinds.
const (
	KindFile  ArtifactKind = "file"  // a binary or plain file, maybe a member of an archive
	KindImage ArtifactKind = "image" // a container image
	KindRPM   ArtifactKind = "rpm"
	KindDeb   ArtifactKind = "deb"
)

// Lock lists every artifact of a bundle, exactly. Resolve makes it; Pack fills
// in what only the download can tell (Blob, Plain) and seals it into the
// bundle as JSON. Artifacts are sorted by Kind, Distro, Platform, Name,
// Version, Path.
type Lock struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`

	Name     string        `json:"name"`
	Sequence int64         `json:"sequence"`
	Created  time.Time     `json:"created"` // UTC, whole seconds; also the time of every signature
	Expires  time.Time     `json:"expires,omitzero"`
	Previous digest.Digest `json:"previous,omitempty"` // root of the bundle this one follows

	Kubernetes string   `json:"kubernetes"` // full version without v, "1.36.3"
	Minor      string   `json:"minor"`      // "1.36"
	Arches     []string `json:"arches"`
	Distros    []string `json:"distros"`
	CNI        string   `json:"cni"`
	Runtime    string   `json:"runtime"`

	// Release, CNIRelease and DistroData are the catalog entries the bundle was
	// resolved from, so that install needs no catalog of its own.
	Release    catalog.Release           `json:"release"`
	CNIRelease catalog.CNIRelease        `json:"cniRelease"`
	DistroData map[string]catalog.Distro `json:"distroData"`

	Artifacts []Artifact `json:"artifacts"`
}

// Artifact is one thing in a bundle.
type Artifact struct {
	Kind     ArtifactKind `json:"kind"`
	Name     string       `json:"name"`               // "kubelet", "registry.k8s.io/pause:3.10", "chrony"
	Version  string       `json:"version"`            // as upstream writes it; EVR for packages
	Platform string       `json:"platform,omitempty"` // "linux/amd64"; empty for all platforms (multi-platform images)
	Distro   string       `json:"distro,omitempty"`   // packages: "rocky-9"

	// Group and Path say where the mirror serves a file: /<Group>/<Path>.
	// Group is "files", "yum/<distro>/<arch>" or "apt/<distro>"; images have none.
	Group string `json:"group,omitempty"`
	Path  string `json:"path,omitempty"`
	// Mode is the file mode on a host, 0o755 for binaries, 0o644 otherwise.
	Mode uint32 `json:"mode,omitempty"`

	Source Source `json:"source"`

	// Blob is how the bundle stores it: for images the manifest or index.
	Blob Descriptor `json:"blob"`
	// Plain is the content before zstd; equal to Blob when stored as it is.
	Plain Descriptor `json:"plain,omitzero"`
	// Absent lists the platform manifests of an image index that were left out.
	Absent []digest.Digest `json:"absent,omitempty"`
}

// Source says where an artifact came from and why its bytes are believed.
type Source struct {
	URL string `json:"url"` // as in the catalog, before any rewrite
	// Digest that upstream publishes of what URL serves (of the archive when Member is set).
	Digest digest.Digest `json:"digest,omitempty"`
	Size   int64         `json:"size,omitempty"`   // bytes; 0 when unknown before the download
	Member string        `json:"member,omitempty"` // path inside the archive at URL
	// Trust names the evidence: "catalog" (pinned), "signature" (vendor key),
	// "checksum-file", "first-use" or "local" (the packing machine's own file).
	Trust string `json:"trust"`
	// Signer is the fingerprint of the OpenPGP key for Trust "signature".
	Signer string `json:"signer,omitempty"`
}

// Values of Source.Trust.
const (
	TrustCatalog   = "catalog"
	TrustSignature = "signature"
	TrustChecksum  = "checksum-file"
	TrustFirstUse  = "first-use"
	TrustLocal     = "local"
)

// Descriptor is an OCI content descriptor reduced to what a Lock needs.
type Descriptor struct {
	MediaType string        `json:"mediaType,omitempty"`
	Digest    digest.Digest `json:"digest,omitempty"`
	Size      int64         `json:"size,omitempty"`
}

// IsZero reports whether d names nothing.
func (d Descriptor) IsZero() bool { return d == Descriptor{} }
