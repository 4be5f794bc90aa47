package bundle

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/manifests"
)

// CycloneDX is a software bill of materials, CycloneDX 1.6 as JSON. It has only the
// fields that offk8s fills in.
type CycloneDX struct {
	BOMFormat    string          `json:"bomFormat"`
	SpecVersion  string          `json:"specVersion"`
	SerialNumber string          `json:"serialNumber"`
	Version      int             `json:"version"`
	Metadata     CDXMetadata     `json:"metadata"`
	Components   []CDXComponent  `json:"components"`
	Dependencies []CDXDependency `json:"dependencies"`
}

// CDXMetadata describes the bundle as a whole.
type CDXMetadata struct {
	Timestamp time.Time    `json:"timestamp,omitzero"`
	Component CDXComponent `json:"component"`
}

// CDXComponent is the bundle or an artifact of it.
type CDXComponent struct {
	Type               string         `json:"type"`
	BOMRef             string         `json:"bom-ref"`
	Name               string         `json:"name"`
	Version            string         `json:"version,omitempty"`
	Hashes             []CDXHash      `json:"hashes,omitempty"`
	PURL               string         `json:"purl,omitempty"`
	ExternalReferences []CDXReference `json:"externalReferences,omitempty"`
	Properties         []CDXProperty  `json:"properties,omitempty"`
}

// CDXHash is a digest.
type CDXHash struct {
	Alg     string `json:"alg"`
	Content string `json:"content"`
}

// CDXReference is the upstream address of an artifact.
type CDXReference struct {
	URL  string `json:"url"`
	Type string `json:"type"`
}

// CDXProperty is a fact that CycloneDX has no field for.
type CDXProperty struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// CDXDependency lists the components that another one brought into the bundle.
type CDXDependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// SBOM returns the bill of materials of a bundle: the artifacts of its Lock. The same
// bundle gives the same document.
func SBOM(b *Bundle) CycloneDX {
	l := b.lock
	out := CycloneDX{
		BOMFormat: "CycloneDX", SpecVersion: "1.6", SerialNumber: "urn:uuid:" + uuidOf(b.root), Version: 1,
		Metadata: CDXMetadata{Timestamp: l.Created, Component: CDXComponent{
			Type: "application", BOMRef: l.Name, Name: l.Name, Version: fmt.Sprint(l.Sequence), Hashes: hashesOf(b.root),
			Properties: []CDXProperty{{"offk8s:kubernetes", l.Kubernetes}},
		}},
		Components: []CDXComponent{},
	}
	needed := neededBy(l)
	out.Dependencies = append(out.Dependencies, CDXDependency{l.Name, needed[""]})
	for i := range l.Artifacts {
		a := &l.Artifacts[i]
		if a.Kind == manifests.KindAttachment { // about software, not software
			continue
		}
		c := componentOf(a)
		out.Components = append(out.Components, c)
		if refs := needed[c.BOMRef]; refs != nil {
			out.Dependencies = append(out.Dependencies, CDXDependency{c.BOMRef, refs})
		}
	}
	slices.SortFunc(out.Components, func(a, b CDXComponent) int { return strings.Compare(a.BOMRef, b.BOMRef) })
	slices.SortFunc(out.Dependencies[1:], func(a, b CDXDependency) int { return strings.Compare(a.Ref, b.Ref) })
	return out
}

// refOf returns the identity of an artifact in the document: that of an image is its
// name, that of others their path on the mirror.
func refOf(a *manifests.Artifact) string {
	if a.Kind == manifests.KindImage {
		return "image/" + a.Name
	}
	return a.Group + "/" + a.Path
}

// neededBy returns the artifacts that each artifact brought into the bundle, sorted; those
// that no other one did are under the empty name.
func neededBy(l *manifests.Lock) map[string][]string {
	out := map[string][]string{}
	for i := range l.Artifacts {
		a := &l.Artifacts[i]
		if a.Kind == manifests.KindAttachment {
			continue
		}
		by := ""
		if a.RequiredBy != "" {
			if r := requirer(l, a); r != nil {
				by = refOf(r)
			}
		}
		out[by] = append(out[by], refOf(a))
	}
	for _, refs := range out {
		slices.Sort(refs)
	}
	return out
}

// componentTypes are the component types of CycloneDX by kind.
var componentTypes = map[manifests.ArtifactKind]string{
	manifests.KindImage: "container", manifests.KindFile: "file", manifests.KindRPM: "library", manifests.KindDeb: "library",
	manifests.KindChart: "application",
}

func componentOf(a *manifests.Artifact) CDXComponent {
	c := CDXComponent{
		Type: componentTypes[a.Kind], BOMRef: refOf(a), Name: a.Name, Version: a.Version, PURL: purl(a), Hashes: hashesOf(contentOf(a)),
	}
	if strings.HasPrefix(a.Source.URL, "https://") || strings.HasPrefix(a.Source.URL, "http://") {
		c.ExternalReferences = []CDXReference{{a.Source.URL, "distribution"}}
	}
	for _, p := range []CDXProperty{{"offk8s:trust", a.Source.Trust}, {"offk8s:signer", a.Source.Signer}, {"offk8s:platform", a.Platform}, {"offk8s:distro", a.Distro}} {
		if p.Value != "" {
			c.Properties = append(c.Properties, p)
		}
	}
	return c
}

// contentOf returns the digest of an artifact as hosts get it.
func contentOf(a *manifests.Artifact) digest.Digest {
	if a.Kind == manifests.KindImage {
		return a.Blob.Digest
	}
	return fileOf(*a).Plain.Digest
}

func hashesOf(d digest.Digest) []CDXHash {
	alg := map[digest.Algorithm]string{digest.SHA256: "SHA-256", digest.SHA512: "SHA-512"}[d.Algorithm()]
	return []CDXHash{{alg, d.Encoded()}}
}

// uuidOf returns a UUID of version 8 (RFC 9562) for a digest.
func uuidOf(d digest.Digest) string {
	h := d.Encoded()
	return h[:8] + "-" + h[8:12] + "-8" + h[13:16] + "-8" + h[17:20] + "-" + h[20:32]
}

// purl returns the package URL of an artifact, https://github.com/package-url/purl-spec.
func purl(a *manifests.Artifact) string {
	id, _, _ := strings.Cut(a.Distro, "-")
	file := path.Base(a.Path)
	q := url.Values{}
	switch a.Kind {
	case manifests.KindImage:
		ref, err := fetch.ParseImage(a.Name)
		if err != nil {
			return ""
		}
		q.Set("repository_url", ref.Repo)
		q.Set("tag", ref.Tag)
		return packageURL("oci", "", path.Base(ref.Repo), a.Blob.Digest.String(), q)
	case manifests.KindRPM:
		epoch, version, ok := strings.Cut(a.Version, ":")
		if !ok {
			epoch, version = "", a.Version
		}
		file = strings.TrimSuffix(file, ".rpm")
		q.Set("arch", file[strings.LastIndex(file, ".")+1:])
		q.Set("distro", a.Distro)
		q.Set("epoch", strings.TrimPrefix(epoch, "0"))
		return packageURL("rpm", id, a.Name, version, q)
	case manifests.KindDeb:
		file = strings.TrimSuffix(file, ".deb")
		q.Set("arch", file[strings.LastIndex(file, "_")+1:])
		q.Set("distro", a.Distro)
		return packageURL("deb", id, a.Name, a.Version, q)
	}
	if a.Kind == manifests.KindChart {
		return packageURL("helm", "", a.Name, a.Version, q)
	}
	q.Set("checksum", contentOf(a).String())
	q.Set("arch", a.Arch())
	return packageURL("generic", "", a.Name, a.Version, q)
}

// packageURL joins the parts of a package URL; qualifiers are sorted, empty ones left out.
func packageURL(kind, namespace, name, version string, q url.Values) string {
	s := "pkg:" + kind + "/"
	if namespace != "" {
		s += purlEscape(namespace) + "/"
	}
	s += purlEscape(name)
	if version != "" {
		s += "@" + purlEscape(version)
	}
	var list []string
	for key := range q {
		if value := q.Get(key); value != "" {
			list = append(list, key+"="+strings.ReplaceAll(purlEscape(value), "%2F", "/"))
		}
	}
	slices.Sort(list)
	return s + strings.TrimSuffix("?"+strings.Join(list, "&"), "?")
}

// purlEscape encodes all but letters, digits, ".-_~" and ":".
func purlEscape(s string) string {
	return strings.NewReplacer("+", "%20", "%3A", ":").Replace(url.QueryEscape(s))
}

// SPDX is a software bill of materials, SPDX 2.3 as JSON.
type SPDX struct {
	SPDXVersion       string             `json:"spdxVersion"`
	DataLicense       string             `json:"dataLicense"`
	SPDXID            string             `json:"SPDXID"`
	Name              string             `json:"name"`
	DocumentNamespace string             `json:"documentNamespace"`
	CreationInfo      SPDXCreation       `json:"creationInfo"`
	Packages          []SPDXPackage      `json:"packages"`
	Relationships     []SPDXRelationship `json:"relationships"`
}

// SPDXCreation is the origin of the document.
type SPDXCreation struct {
	Created  time.Time `json:"created"`
	Creators []string  `json:"creators"`
}

// SPDXPackage is the bundle or an artifact of it.
type SPDXPackage struct {
	SPDXID           string         `json:"SPDXID"`
	Name             string         `json:"name"`
	VersionInfo      string         `json:"versionInfo,omitempty"`
	DownloadLocation string         `json:"downloadLocation"`
	FilesAnalyzed    bool           `json:"filesAnalyzed"`
	Checksums        []SPDXChecksum `json:"checksums"`
	ExternalRefs     []SPDXRef      `json:"externalRefs,omitempty"`
}

// SPDXChecksum is a digest.
type SPDXChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

// SPDXRef is a package URL.
type SPDXRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

// SPDXRelationship connects two packages, or the document with the bundle.
type SPDXRelationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

// SPDX returns the same bill of materials in the other format.
func (c CycloneDX) SPDX() SPDX {
	const document = "SPDXRef-DOCUMENT"
	bundle := c.Metadata.Component
	out := SPDX{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", SPDXID: document, Name: bundle.Name,
		DocumentNamespace: "https://offk8s.dev/spdx/" + strings.TrimPrefix(c.SerialNumber, "urn:uuid:"),
		CreationInfo:      SPDXCreation{c.Metadata.Timestamp, []string{"Tool: offk8s"}},
	}
	ids := map[string]string{}
	for i, x := range append([]CDXComponent{bundle}, c.Components...) {
		id := fmt.Sprintf("SPDXRef-%d", i)
		ids[x.BOMRef] = id
		p := SPDXPackage{SPDXID: id, Name: x.Name, VersionInfo: x.Version, DownloadLocation: "NOASSERTION"}
		if len(x.ExternalReferences) > 0 {
			p.DownloadLocation = x.ExternalReferences[0].URL
		}
		for _, h := range x.Hashes {
			p.Checksums = append(p.Checksums, SPDXChecksum{strings.ReplaceAll(h.Alg, "-", ""), h.Content})
		}
		if x.PURL != "" {
			p.ExternalRefs = []SPDXRef{{"PACKAGE-MANAGER", "purl", x.PURL}}
		}
		out.Packages = append(out.Packages, p)
	}
	out.Relationships = []SPDXRelationship{{document, "DESCRIBES", ids[bundle.BOMRef]}}
	for i, d := range c.Dependencies {
		kind := "DEPENDS_ON"
		if i == 0 {
			kind = "CONTAINS"
		}
		for _, ref := range d.DependsOn {
			out.Relationships = append(out.Relationships, SPDXRelationship{ids[d.Ref], kind, ids[ref]})
		}
	}
	return out
}
