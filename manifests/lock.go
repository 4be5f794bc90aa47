package manifests

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/manifests/strict"
)

// ArtifactKind is the kind of an artifact; bundle/fetch has a fetcher for each.
type ArtifactKind string

// The artifact kinds.
const (
	KindFile  ArtifactKind = "file"  // a binary or plain file, possibly a member of an archive
	KindImage ArtifactKind = "image" // a container image
	KindRPM   ArtifactKind = "rpm"
	KindDeb   ArtifactKind = "deb"
	KindChart ArtifactKind = "chart" // a Helm chart
	// KindAttachment is a signature, attestation or SBOM that hangs on an image in its registry.
	KindAttachment ArtifactKind = "attachment"
)

// ArtifactKinds lists the kinds in the order of summaries.
var ArtifactKinds = []ArtifactKind{KindImage, KindAttachment, KindFile, KindChart, KindRPM, KindDeb}

// InRegistry reports whether the root index of a bundle names artifacts of the kind, and the
// mirror's registry serves them: images and their attachments.
func (k ArtifactKind) InRegistry() bool { return k == KindImage || k == KindAttachment }

// Lock lists every artifact of a bundle. Resolve returns it; Pack adds the
// fields that are known after the download (Blob, Plain) and seals it into the
// bundle as JSON. Artifacts are sorted by Kind, Distro, Platform, Name,
// Version, Path.
type Lock struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`

	Name     string        `json:"name"`
	Sequence int64         `json:"sequence"`
	Created  time.Time     `json:"created"` // UTC, whole seconds; also the time of every signature
	Expires  time.Time     `json:"expires,omitzero"`
	Previous digest.Digest `json:"previous,omitempty"` // root of the previous bundle

	Kubernetes string   `json:"kubernetes"` // full version without v, "1.36.3"
	Minor      string   `json:"minor"`      // "1.36"
	Arches     []string `json:"arches"`
	Distros    []string `json:"distros"`
	CNI        string   `json:"cni"`
	Runtime    string   `json:"runtime"`
	// AssumeInstalled is AssumeMinimal if the bundle lacks the packages of the distributions'
	// smallest installations.
	AssumeInstalled string `json:"assumeInstalled,omitempty"`

	// Release, CNIRelease and DistroData are the catalog entries that the bundle
	// was resolved from, so that install needs no catalog.
	Release    catalog.Release           `json:"release"`
	CNIRelease catalog.CNIRelease        `json:"cniRelease"`
	DistroData map[string]catalog.Distro `json:"distroData"`

	// Addons are in the order in which install applies them.
	Addons []Addon `json:"addons,omitempty"`

	Artifacts []Artifact `json:"artifacts"`
}

// Addon is a set of Kubernetes objects in a bundle, of the catalog or of the user.
type Addon struct {
	Name    string               `json:"name"`
	Release catalog.AddonRelease `json:"release"`
}

// Components returns the versions of the parts of a cluster by name: Kubernetes, the
// components of the release such as etcd, and the pod network.
func (l *Lock) Components() map[string]string {
	out := map[string]string{}
	for _, c := range l.Release.Components {
		out[c.Name] = c.Version
	}
	out["kubernetes"] = l.Kubernetes
	if l.CNI != "" {
		out[l.CNI] = l.CNIRelease.Version
	}
	return out
}

// Artifact is a file, package or image in a bundle.
type Artifact struct {
	Kind     ArtifactKind `json:"kind"`
	Name     string       `json:"name"`               // "kubelet", "registry.k8s.io/pause:3.10", "chrony"
	Version  string       `json:"version"`            // as upstream writes it; EVR for packages
	Platform string       `json:"platform,omitempty"` // "linux/amd64"; empty for all platforms (multi-platform images)
	Distro   string       `json:"distro,omitempty"`   // packages: "rocky-9"

	// Group and Path are the URL path of a file on the mirror: /<Group>/<Path>.
	// Group is "files", "charts", "yum/<distro>/<arch>" or "apt/<distro>"; images have none.
	Group string `json:"group,omitempty"`
	Path  string `json:"path,omitempty"`
	// Mode is the file mode on a host, 0o755 for binaries, 0o644 otherwise.
	Mode uint32 `json:"mode,omitempty"`

	Source Source `json:"source"`

	// RequiredBy is the package that brought this one into the bundle, Requirement
	// the dependency of it that this one satisfies. Both are empty for packages of
	// the list, and in Locks of older versions. Of an attachment, RequiredBy is the image.
	RequiredBy  string `json:"requiredBy,omitempty"`
	Requirement string `json:"requirement,omitempty"`

	// Blob is the stored content; for an image, its manifest or index.
	Blob Descriptor `json:"blob"`
	// Plain is the content before zstd; equal to Blob if it is not compressed.
	Plain Descriptor `json:"plain,omitzero"`
	// Absent lists the manifests of an image index that the bundle leaves out.
	Absent []digest.Digest `json:"absent,omitempty"`
	// Chart describes a Helm chart; nil for other kinds.
	Chart *Chart `json:"chart,omitempty"`
}

// Source is the origin of an artifact and the evidence for its content.
type Source struct {
	URL string `json:"url"` // as in the catalog, before any rewrite
	// Digest is the one that upstream publishes for URL (of the archive, if Member is set).
	Digest digest.Digest `json:"digest,omitempty"`
	Size   int64         `json:"size,omitempty"`   // bytes; 0 if it is unknown before the download
	Member string        `json:"member,omitempty"` // path inside the archive at URL
	// Trust names the evidence: "catalog" (pinned), "signature" (vendor key),
	// "checksum-file", "first-use", "local" (a file of the packing machine) or "attached"
	// (listed beside an image; an attachment shows by itself who signed it).
	Trust string `json:"trust"`
	// Signer is the fingerprint of the OpenPGP key for Trust "signature".
	Signer string `json:"signer,omitempty"`
	// Repository is the id of the yum repository that lists an RPM, if URL is not
	// below the repository's base URL; its keys check the package.
	Repository string `json:"repository,omitempty"`
}

// Values of Source.Trust.
const (
	TrustCatalog   = "catalog"
	TrustSignature = "signature"
	TrustChecksum  = "checksum-file"
	TrustFirstUse  = "first-use"
	TrustLocal     = "local"
	TrustAttached  = "attached"
)

// SmokeImage is the name, without a tag, of the image that pack builds of the
// offk8s binary for the smoke test of a cluster.
const SmokeImage = "offk8s.dev/smoke"

// Descriptor is an OCI content descriptor with only the fields that a Lock needs.
type Descriptor struct {
	MediaType string        `json:"mediaType,omitempty"`
	Digest    digest.Digest `json:"digest,omitempty"`
	Size      int64         `json:"size,omitempty"`
}

// IsZero reports whether d is the zero Descriptor.
func (d Descriptor) IsZero() bool { return d == Descriptor{} }

// LoadLock reads a Lock strictly (strict.DecodeJSON) and validates it. Validation
// reports every problem; decoding stops at the first.
func LoadLock(data []byte) (*Lock, error) {
	l := &Lock{}
	if err := strict.DecodeJSON(data, l); err != nil {
		return nil, fmt.Errorf("read lock: %w", err)
	}
	l.Release.KubeletConfig = wholeNumbers(l.Release.KubeletConfig)
	if err := l.Validate(); err != nil {
		return nil, err
	}
	return l, nil
}

// LoadSealedLock is LoadLock for the Lock of a bundle: data must also be in the
// canonical form of Encode, so that a Lock has one digest.
func LoadSealedLock(data []byte) (*Lock, error) {
	l, err := LoadLock(data)
	if err != nil {
		return nil, err
	}
	if !strict.Writes(data, l.encode) {
		return nil, errors.New("read lock: not in the canonical form")
	}
	return l, nil
}

// Encode returns the canonical form: indented JSON with sorted artifacts, UTC
// times of whole seconds and a final newline. Equal Locks give equal bytes.
func (l *Lock) Encode() []byte {
	var b bytes.Buffer
	if err := l.encode(&b); err != nil {
		// Only a value without a JSON form gets here, such as a channel in
		// KubeletConfig, which no loader returns. No loader accepts an empty Lock.
		return nil
	}
	return b.Bytes()
}

// encode writes the canonical form, one artifact after the other: a start of the program
// takes longer to get memory for the whole than to encode it.
func (l *Lock) encode(w io.Writer) error {
	const place = "\n \"artifacts\": " // in the outer object alone: other lines have more spaces
	c := *l
	c.Created = c.Created.UTC().Truncate(time.Second)
	if !c.Expires.IsZero() {
		c.Expires = c.Expires.UTC().Truncate(time.Second)
	}
	if len(l.Artifacts) > 0 {
		c.Artifacts = nil
	}
	var b bytes.Buffer
	if err := indented(&b, "").Encode(c); err != nil {
		return err
	}
	if len(l.Artifacts) == 0 {
		_, err := w.Write(b.Bytes())
		return err
	}
	head, tail, _ := bytes.Cut(b.Bytes(), []byte(place+"null"))
	if _, err := fmt.Fprintf(w, "%s%s[", head, place); err != nil {
		return err
	}
	artifacts := l.Artifacts
	if !slices.IsSortedFunc(artifacts, CompareArtifacts) {
		artifacts = slices.Clone(artifacts)
		slices.SortStableFunc(artifacts, CompareArtifacts)
	}
	var one bytes.Buffer
	enc, separator := indented(&one, "  "), "\n  "
	for i := range artifacts {
		one.Reset()
		one.WriteString(separator)
		if err := enc.Encode(&artifacts[i]); err != nil {
			return err
		}
		if _, err := w.Write(bytes.TrimSuffix(one.Bytes(), []byte("\n"))); err != nil {
			return err
		}
		separator = ",\n  "
	}
	_, err := fmt.Fprintf(w, "\n ]%s", tail)
	return err
}

func indented(w io.Writer, prefix string) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, " ")
	return enc
}

// CompareArtifacts is the order of artifacts in a Lock.
func CompareArtifacts(a, b Artifact) int {
	return cmp.Or(
		strings.Compare(string(a.Kind), string(b.Kind)),
		strings.Compare(a.Distro, b.Distro),
		strings.Compare(a.Platform, b.Platform),
		strings.Compare(a.Name, b.Name),
		strings.Compare(a.Version, b.Version),
		strings.Compare(a.Path, b.Path),
	)
}

// Validate returns all problems of l, joined into one error.
func (l *Lock) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf("lock: "+format, a...)) }
	if l.APIVersion != APIVersion || l.Kind != KindLock {
		bad("found %q %q, want %q %q", l.APIVersion, l.Kind, APIVersion, KindLock)
	}
	if !isBundleName(l.Name) {
		bad("name %q: want lower case letters, digits, dots and dashes", l.Name)
	}
	if l.Sequence < 1 {
		bad("sequence %d: want 1 or more", l.Sequence)
	}
	if y := l.Created.Year(); y < 1970 || y > 9999 {
		bad("created %v: not a date", l.Created)
	}
	if y := l.Expires.Year(); !l.Expires.IsZero() && (y < 1970 || y > 9999) {
		bad("expires %v: not a date", l.Expires)
	}
	if !l.Expires.IsZero() && !l.Expires.After(l.Created) {
		bad("expires %s: not after created %s", l.Expires.Format(time.RFC3339), l.Created.Format(time.RFC3339))
	}
	if err := strict.CheckDigest(l.Previous); err != nil {
		bad("previous: %w", err)
	}
	if v, err := catalog.ParseVersion(l.Kubernetes); err != nil || v.Patch < 0 || v.String() != l.Kubernetes {
		bad("kubernetes %q: want a full version such as 1.36.3", l.Kubernetes)
	} else if v.MinorString() != l.Minor {
		bad("minor %q is not that of kubernetes %s", l.Minor, l.Kubernetes)
	}
	paths, names := map[string]bool{}, map[string]bool{}
	for i := range l.Artifacts {
		a := &l.Artifacts[i]
		if err := a.validate(); err != nil {
			bad("%s %q: %w", a.Kind, a.Name, err)
		}
		id := strings.Join([]string{string(a.Kind), a.Distro, a.Platform, a.Name, a.Version, a.Path}, "\x00")
		if names[id] {
			bad("%s %q: duplicate", a.Kind, a.Name)
		}
		names[id] = true
		if at := a.Group + "/" + a.Path; a.Path != "" {
			if paths[at] {
				bad("%s %q: path %q is taken", a.Kind, a.Name, at)
			}
			paths[at] = true
		}
	}
	return errors.Join(errs...)
}

var platform = strict.NewPattern(`^linux/[a-z0-9]+(/[a-z0-9]+)?$`)

// isBundleName reports the name of a bundle or a distribution.
func isBundleName(s string) bool {
	return len(s) <= 128 && strict.IsName(s) && strings.TrimRight(s, ".-") == s
}

func (a *Artifact) validate() error {
	var errs []error
	bad := func(format string, x ...any) { errs = append(errs, fmt.Errorf(format, x...)) }
	switch a.Kind {
	case KindFile, KindRPM, KindDeb:
		if _, ok := ParseGroup(a.Group); !ok {
			bad("group %q is not one of files, yum/<distro>/<arch>, apt/<distro>", a.Group)
		}
		if !strict.IsPlainPath(a.Path) {
			bad("path %q is not a plain relative path", a.Path)
		}
	case KindChart:
		if err := a.validateChart(); err != nil {
			bad("%w", err)
		}
	case KindImage, KindAttachment:
		if a.Group != "" || a.Path != "" {
			bad("an image has no group or path")
		}
		if _, err := strict.ParseImage(a.Name); err != nil {
			bad("%w", err)
		}
	default:
		bad("unknown kind")
	}
	if a.Name == "" || strings.ContainsFunc(a.Name, strict.Unprintable) || strings.ContainsFunc(a.Version, strict.Unprintable) {
		bad("name and version: want printable text")
	}
	if a.Platform != "" && !platform.MatchString(a.Platform) {
		bad("platform %q: want linux/<arch>", a.Platform)
	}
	if a.Distro != "" && !isBundleName(a.Distro) {
		bad("distro %q", a.Distro)
	}
	if a.Mode > 0o777 {
		bad("mode %o is more than 0777", a.Mode)
	}
	if a.Source.Size < 0 || a.Blob.Size < 0 || a.Plain.Size < 0 {
		bad("a negative size")
	}
	for _, d := range append([]digest.Digest{a.Source.Digest, a.Blob.Digest, a.Plain.Digest}, a.Absent...) {
		if err := strict.CheckDigest(d); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// wholeNumbers turns whole float64 numbers, as JSON decodes them, into int64, as
// YAML does, so that a Lock equals the catalog entry it came from.
func wholeNumbers(m map[string]any) map[string]any {
	for k, v := range m {
		m[k] = wholeNumber(v)
	}
	return m
}

func wholeNumber(v any) any {
	switch v := v.(type) {
	case float64:
		if i := int64(v); v > -1<<53 && v < 1<<53 && float64(i) == v {
			return i
		}
	case map[string]any:
		return wholeNumbers(v)
	case []any:
		for i := range v {
			v[i] = wholeNumber(v[i])
		}
	}
	return v
}
