package upstreamtest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// addApt fills the suites of d: the packages of the catalog and the library
// they depend on in the first of an architecture, nothing in the others.
func (w *world) addApt(d catalog.Distro, arches []string) error {
	filled := map[string]bool{}
	for _, source := range d.Apt {
		base := "apt:" + source.Archive + "/"
		files := map[string][]byte{}
		for _, arch := range arches {
			if !source.Has(arch) {
				continue
			}
			var index strings.Builder
			for _, component := range source.Components {
				index.Reset()
				if !filled[arch] {
					filled[arch] = true
					if err := w.addDebs(&index, base, d, arch); err != nil {
						return err
					}
				}
				name := component + "/binary-" + arch + "/Packages"
				zipped, err := gz([]byte(index.String()))
				if err != nil {
					return err
				}
				files[name], files[name+".gz"] = []byte(index.String()), zipped
			}
		}
		if err := w.addRelease(base+"dists/"+source.Suite+"/", source, arches, files); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) addRelease(base string, source catalog.AptSource, arches []string, files map[string][]byte) error {
	var release strings.Builder
	fmt.Fprintf(&release, "Origin: made up\nLabel: made up\nSuite: %[1]s\nCodename: %[1]s\nDate: %[2]s\nArchitectures: %[3]s\nComponents: %[4]s\nSHA256:\n",
		source.Suite, Built.Format("Mon, 02 Jan 2006 15:04:05 UTC"), strings.Join(arches, " "), strings.Join(source.Components, " "))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w.put(base+name, files[name])
		fmt.Fprintf(&release, " %s %d %s\n", digest.FromBytes(files[name]).Encoded(), len(files[name]), name)
	}
	signed, err := trust.ClearSign(w.key, []byte(release.String()), Built)
	if err != nil {
		return err
	}
	detached, err := trust.SignDetached(w.key, []byte(release.String()), Built)
	if err != nil {
		return err
	}
	w.put(base+"InRelease", signed)
	w.put(base+"Release", []byte(release.String()))
	w.put(base+"Release.gpg", detached)
	return nil
}

func (w *world) addDebs(index *strings.Builder, base string, d catalog.Distro, arch string) error {
	type deb struct{ name, arch, depends string }
	packages := []deb{{"made-up-data", "all", ""}, {"made-up-libs", arch, "made-up-data (>= 1.0)"}, {"unwanted", arch, ""}}
	for _, name := range d.AllPackages() {
		packages = append(packages, deb{name, arch, "made-up-libs (>= 1.0), made-up-data"})
	}
	for _, p := range packages {
		control := fmt.Sprintf("Package: %s\nVersion: 2.0-1\nArchitecture: %s\nMaintainer: nobody <nobody@example.invalid>\nInstalled-Size: 1\n", p.name, p.arch)
		if p.depends != "" {
			control += "Depends: " + p.depends + "\n"
		}
		control += "Section: misc\nPriority: optional\nDescription: made-up package " + p.name + "\n"
		content, err := debFile(control, p.name)
		if err != nil {
			return err
		}
		filename := fmt.Sprintf("pool/main/%s/%s/%s_2.0-1_%s.deb", p.name[:1], p.name, p.name, p.arch)
		w.put(base+filename, content)
		fmt.Fprintf(index, "%sFilename: %s\nSize: %d\nSHA256: %s\n\n", control, filename, len(content), digest.FromBytes(content).Encoded())
	}
	return nil
}

// debFile is a binary package: an ar archive of a version, control and data.
func debFile(control, name string) ([]byte, error) {
	controlTar, err := tarGz(map[string][]byte{"./control": []byte(control)}, 0o644)
	if err != nil {
		return nil, err
	}
	dataTar, err := tarGz(map[string][]byte{"./usr/share/doc/" + name + "/made-up": []byte(name + " is made up.\n")}, 0o644)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range []struct {
		name    string
		content []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", controlTar}, {"data.tar.gz", dataTar}} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, Built.Unix(), 0, 0, "100644", len(m.content))
		b.Write(m.content)
		pad(&b, 2)
	}
	return b.Bytes(), nil
}

func gz(b []byte) ([]byte, error) {
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	if _, err := zw.Write(b); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
