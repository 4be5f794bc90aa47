package upstreamtest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// addDistros makes the package sources of every distribution of the catalog.
func (w *world) addDistros() error {
	for _, name := range w.catalog.DistroNames() {
		d, err := w.catalog.Distro(name)
		if err != nil {
			return err
		}
		arches := d.Arches
		if len(arches) == 0 {
			arches = []string{"amd64"}
		}
		for _, arch := range arches {
			if err := w.addYum(d, map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		if err := w.addApt(d, arches); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// addYum fills the repositories of d: every package that the catalog wants in
// the last one, a library that all require in the first, and a package that is
// never needed.
func (w *world) addYum(d catalog.Distro, arch string) error {
	release := "1.el" + d.Major
	for i, repo := range d.Yum {
		packages := []*rpmPackage{}
		if i == 0 {
			packages = append(packages,
				&rpmPackage{name: "made-up-libs", version: "1.0", release: release, arch: arch, requires: []string{"made-up-data"}},
				&rpmPackage{name: "made-up-data", version: "1.0", release: release, arch: "noarch"},
				&rpmPackage{name: "unwanted", version: "1.0", release: release, arch: arch})
		}
		if i == len(d.Yum)-1 {
			for _, name := range d.AllPackages() {
				packages = append(packages, &rpmPackage{name: name, version: "2.0", release: release, arch: arch, requires: []string{"made-up-libs"}})
			}
		}
		base := strings.TrimRight(strings.ReplaceAll(repo.BaseURL, "{arch}", arch), "/") + "/"
		if err := w.addYumRepo(base, packages); err != nil {
			return err
		}
	}
	return nil
}

// addYumRepo writes packages and metadata below base, as createrepo_c lays them out.
func (w *world) addYumRepo(base string, packages []*rpmPackage) error {
	var primary strings.Builder
	fmt.Fprintf(&primary, `<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="%d">
`, len(packages))
	for _, p := range packages {
		if err := p.build(w.key); err != nil {
			return err
		}
		location := fmt.Sprintf("Packages/%s-%s-%s.%s.rpm", p.name, p.version, p.release, p.arch)
		w.put(base+location, p.content)
		primary.WriteString(p.primary(location))
	}
	primary.WriteString("</metadata>\n")
	var repomd strings.Builder
	repomd.WriteString(`<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
  <revision>1</revision>
`)
	for _, kind := range []string{"primary", "filelists"} {
		content := primary.String()
		if kind == "filelists" {
			content = filelists(packages)
		}
		entry, err := w.repodata(base, kind, content)
		if err != nil {
			return err
		}
		repomd.WriteString(entry)
	}
	repomd.WriteString("</repomd>\n")
	signature, err := trust.SignDetached(w.key, []byte(repomd.String()), Built)
	if err != nil {
		return err
	}
	w.put(base+"repodata/repomd.xml", []byte(repomd.String()))
	w.put(base+"repodata/repomd.xml.asc", signature)
	return nil
}

// EditYum changes a metadata file ("primary", "filelists") of the repository at
// base, a URL of the catalog without {arch}, and signs the repository again.
func (u *Upstream) EditYum(base, kind string, edit func(string) string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	repomd := string(u.files[place(base+"repodata/repomd.xml")])
	entry := regexp.MustCompile(`(?s)  <data type="` + kind + `">.*?<location href="([^"]+)"/>.*?</data>\n`)
	found := entry.FindStringSubmatch(repomd)
	if found == nil {
		return fmt.Errorf("%s: no %s", base, kind)
	}
	zr, err := gzip.NewReader(bytes.NewReader(u.files[place(base+found[1])]))
	if err != nil {
		return err
	}
	content, err := io.ReadAll(zr)
	if err != nil {
		return err
	}
	changed, err := u.repodata(base, kind, edit(string(content)))
	if err != nil {
		return err
	}
	repomd = strings.Replace(repomd, found[0], changed, 1)
	signature, err := trust.SignDetached(u.key, []byte(repomd), Built)
	if err != nil {
		return err
	}
	u.put(base+"repodata/repomd.xml", []byte(repomd))
	u.put(base+"repodata/repomd.xml.asc", signature)
	return nil
}

// repodata stores one metadata file under its digest and returns its entry of repomd.xml.
func (w *world) repodata(base, kind, content string) (string, error) {
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	if _, err := zw.Write([]byte(content)); err != nil {
		return "", err
	}
	if err := zw.Close(); err != nil {
		return "", err
	}
	sum := digest.FromBytes(zipped.Bytes()).Encoded()
	location := "repodata/" + sum + "-" + kind + ".xml.gz"
	w.put(base+location, zipped.Bytes())
	return fmt.Sprintf(`  <data type="%s">
    <checksum type="sha256">%s</checksum>
    <open-checksum type="sha256">%s</open-checksum>
    <location href="%s"/>
    <timestamp>%d</timestamp>
    <size>%d</size>
    <open-size>%d</open-size>
  </data>
`, kind, sum, digest.FromString(content).Encoded(), location, Built.Unix(), zipped.Len(), len(content)), nil
}

func (p *rpmPackage) primary(location string) string {
	var requires strings.Builder
	for _, name := range p.requires {
		fmt.Fprintf(&requires, `        <rpm:entry name="%s"/>
`, name)
	}
	if requires.Len() > 0 {
		requires.WriteString("      </rpm:requires>\n")
	}
	start := ""
	if requires.Len() > 0 {
		start = "      <rpm:requires>\n"
	}
	return fmt.Sprintf(`  <package type="rpm">
    <name>%[1]s</name>
    <arch>%[2]s</arch>
    <version epoch="0" ver="%[3]s" rel="%[4]s"/>
    <checksum type="sha256" pkgid="YES">%[5]s</checksum>
    <summary>Made-up package %[1]s</summary>
    <description>It stands for %[1]s in tests.</description>
    <packager/>
    <url/>
    <time file="%[6]d" build="%[6]d"/>
    <size package="%[7]d" installed="64" archive="256"/>
    <location href="%[8]s"/>
    <format>
      <rpm:license>Apache-2.0</rpm:license>
      <rpm:vendor/>
      <rpm:group>Unspecified</rpm:group>
      <rpm:buildhost>localhost</rpm:buildhost>
      <rpm:sourcerpm>%[1]s-%[3]s-%[4]s.src.rpm</rpm:sourcerpm>
      <rpm:header-range start="0" end="0"/>
      <rpm:provides>
        <rpm:entry name="%[1]s" flags="EQ" epoch="0" ver="%[3]s" rel="%[4]s"/>
      </rpm:provides>
%[9]s%[10]s    </format>
  </package>
`, p.name, p.arch, p.version, p.release, digest.FromBytes(p.content).Encoded(), Built.Unix(), len(p.content), location, start, requires.String())
}

func filelists(packages []*rpmPackage) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="UTF-8"?>
<filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="%d">
`, len(packages))
	for _, p := range packages {
		fmt.Fprintf(&b, `  <package pkgid="%s" name="%s" arch="%s">
    <version epoch="0" ver="%s" rel="%s"/>
    <file>/usr/share/doc/%s/made-up</file>
  </package>
`, digest.FromBytes(p.content).Encoded(), p.name, p.arch, p.version, p.release, p.name)
	}
	b.WriteString("</filelists>\n")
	return b.String()
}
