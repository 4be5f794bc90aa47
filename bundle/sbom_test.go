package bundle_test

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/manifests"
)

// sbomOf returns the bill of materials of a bundle with an artifact of each kind.
func sbomOf(t *testing.T) bundle.CycloneDX {
	t.Helper()
	b := bundletest.New(t)
	b.AddSmall(t)
	b.AddPackage(t, manifests.KindRPM, bundletest.YumGroup, "Packages/l/libedit-3.1-38.20210216cvs.el9.noarch.rpm", []byte("another\n"))
	for i := range b.Lock.Artifacts {
		switch a := &b.Lock.Artifacts[i]; a.Kind {
		case manifests.KindRPM:
			a.Name, _, _ = strings.Cut(a.Name, "-")
			a.Version = "1:4.5-1.el9"
		case manifests.KindDeb:
			a.Name, a.Version = "chrony", "4.3-2+deb12u1"
		}
		if a := &b.Lock.Artifacts[i]; a.Name == "libedit" {
			a.RequiredBy, a.Requirement = "chrony", "libedit.so.0()(64bit)"
		}
	}
	return bundle.SBOM(openPaths(t, b.Seal(t)))
}

func TestPackageURLs(t *testing.T) {
	got := map[string]string{}
	for _, c := range sbomOf(t).Components {
		got[c.BOMRef] = regexp.MustCompile(`[0-9a-f]{64}`).ReplaceAllString(c.PURL, "DIGEST")
	}
	want := map[string]string{
		"apt/debian-12/pool/main/c/chrony/chrony_4.3-2+deb12u1_amd64.deb": "pkg:deb/debian/chrony@4.3-2%2Bdeb12u1?arch=amd64&distro=debian-12",
		"files/amd64/cni.conf":                                                    "pkg:generic/cni.conf@v1.36.3?arch=amd64&checksum=sha256:DIGEST",
		"files/amd64/kubelet":                                                     "pkg:generic/kubelet@v1.36.3?arch=amd64&checksum=sha256:DIGEST",
		"image/registry.k8s.io/coredns:v1.0":                                      "pkg:oci/coredns@sha256:DIGEST?repository_url=registry.k8s.io/coredns&tag=v1.0",
		"image/registry.k8s.io/pause:3.10":                                        "pkg:oci/pause@sha256:DIGEST?repository_url=registry.k8s.io/pause&tag=3.10",
		"yum/rocky-9/x86_64/Packages/c/chrony-4.5-1.el9.x86_64.rpm":               "pkg:rpm/rocky/chrony@4.5-1.el9?arch=x86_64&distro=rocky-9&epoch=1",
		"yum/rocky-9/x86_64/Packages/l/libedit-3.1-38.20210216cvs.el9.noarch.rpm": "pkg:rpm/rocky/libedit@4.5-1.el9?arch=noarch&distro=rocky-9&epoch=1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("package URLs (-want +got):\n%s", diff)
	}
}

// required are the fields that the schema of CycloneDX 1.6 demands, and the form of
// some, by the object that has them.
var required = map[string]map[string]string{
	"": {"bomFormat": "^CycloneDX$", "specVersion": `^1\.6$`, "serialNumber": "^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
	"component": {
		"name": ".", "type": "^(application|framework|library|container|platform|operating-system|device|device-driver|firmware|file|machine-learning-model|data|cryptographic-asset)$",
	},
	"components":         {"bom-ref": ".", "name": ".", "type": "^(container|file|library)$", "purl": "^pkg:"},
	"hashes":             {"alg": "^SHA-(256|512)$", "content": "^([0-9a-f]{64}|[0-9a-f]{128})$"},
	"externalReferences": {"url": "^https?://", "type": "^distribution$"},
	"dependencies":       {"ref": "."},
	"properties":         {"name": "^offk8s:", "value": "."},
}

// TestCycloneDX holds the document to what the schema requires.
func TestCycloneDX(t *testing.T) {
	doc := sbomOf(t)
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	checkObject(t, "", v, seen)
	for name := range required {
		if seen[name] == 0 {
			t.Errorf("no %q in the document", name)
		}
	}
	if !slices.IsSortedFunc(doc.Components, func(a, b bundle.CDXComponent) int { return strings.Compare(a.BOMRef, b.BOMRef) }) {
		t.Error("components are not sorted")
	}
	refs := map[string]bool{doc.Metadata.Component.BOMRef: true}
	for _, c := range doc.Components {
		if refs[c.BOMRef] {
			t.Errorf("bom-ref %q is not unique", c.BOMRef)
		}
		refs[c.BOMRef] = true
	}
	reached := map[string]int{}
	for _, d := range doc.Dependencies {
		for _, ref := range append(d.DependsOn, d.Ref) {
			if !refs[ref] {
				t.Errorf("dependency on %q, which is no component", ref)
			}
		}
		for _, ref := range d.DependsOn {
			reached[ref]++
		}
	}
	for _, c := range doc.Components {
		if reached[c.BOMRef] != 1 {
			t.Errorf("%q has %d parents, want 1", c.BOMRef, reached[c.BOMRef])
		}
	}
	chrony := "yum/rocky-9/x86_64/Packages/c/chrony-4.5-1.el9.x86_64.rpm"
	i := slices.IndexFunc(doc.Dependencies, func(d bundle.CDXDependency) bool { return d.Ref == chrony })
	if i < 0 || len(doc.Dependencies[i].DependsOn) != 1 || !strings.Contains(doc.Dependencies[i].DependsOn[0], "libedit") {
		t.Errorf("what chrony requires: %+v", doc.Dependencies)
	}
	if diff := cmp.Diff(doc, sbomOf(t)); diff != "" {
		t.Errorf("another run differs:\n%s", diff)
	}
}

// checkObject checks the objects in v, the value of the field name.
func checkObject(t *testing.T, name string, v any, seen map[string]int) {
	t.Helper()
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			checkObject(t, name, x, seen)
		}
	case map[string]any:
		seen[name]++
		for field, pattern := range required[name] {
			if s, _ := v[field].(string); !regexp.MustCompile(pattern).MatchString(s) {
				t.Errorf("%s: %s is %v, want %s", name, field, v[field], pattern)
			}
		}
		for _, field := range slices.Sorted(maps.Keys(v)) {
			checkObject(t, field, v[field], seen)
		}
	}
}

func TestSPDX(t *testing.T) {
	doc := sbomOf(t).SPDX()
	if doc.SPDXVersion != "SPDX-2.3" || doc.DataLicense != "CC0-1.0" || doc.SPDXID != "SPDXRef-DOCUMENT" || !strings.HasPrefix(doc.DocumentNamespace, "https://") || len(doc.CreationInfo.Creators) != 1 {
		t.Errorf("document: %+v", doc)
	}
	ids := map[string]bool{doc.SPDXID: true}
	for _, p := range doc.Packages {
		if !regexp.MustCompile("^SPDXRef-[0-9a-zA-Z.-]+$").MatchString(p.SPDXID) || ids[p.SPDXID] || p.Name == "" || p.DownloadLocation == "" {
			t.Errorf("package: %+v", p)
		}
		ids[p.SPDXID] = true
		for _, c := range p.Checksums {
			if c.Algorithm != "SHA256" || len(c.Value) != 64 {
				t.Errorf("checksum of %s: %+v", p.Name, c)
			}
		}
	}
	kinds := map[string]int{}
	for _, r := range doc.Relationships {
		if !ids[r.Element] || !ids[r.Related] {
			t.Errorf("relationship: %+v", r)
		}
		kinds[r.Type]++
	}
	if diff := cmp.Diff(map[string]int{"DESCRIBES": 1, "CONTAINS": 6, "DEPENDS_ON": 1}, kinds); diff != "" {
		t.Errorf("relationships (-want +got):\n%s", diff)
	}
}
