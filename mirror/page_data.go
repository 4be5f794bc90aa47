package mirror

import (
	"bytes"
	"cmp"
	"encoding/pem"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

// pageData is the content of the bundles as the pages present it. All lists are
// sorted.
type pageData struct {
	bundles    []*bundle.Bundle
	files      []string            // paths of the group "files", "/files/…"
	images     []string            // full names with tag
	registries []string            // hosts of the images
	yum, apt   []string            // distros with a repository
	vendorKeys map[string]string   // armoured keys by path, "/keys/centos-7/centos-7.asc"
	yumKeys    map[string][]string // paths of vendorKeys by distro
	binaries   []binary            // offk8s itself
	charts     []manifests.Artifact
	ca         []byte // PEM, certificates only
	openPGP    []byte // armoured
	passwords  bool   // clients need one

	keys []openPGPKey // of openPGP and of vendorKeys
	contents
	roots     []string // of the listings
	now       func() time.Time
	transfers func() []transfer // that are under way
	runs      []*runReader
	log       *slog.Logger
}

// openPGPKey is a key that package managers ask about.
type openPGPKey struct{ Path, Fingerprint string }

// binary is an offk8s program in a bundle.
type binary struct {
	Machines string // outputs of uname -m as a shell pattern, "x86_64|amd64"
	Path     string
	Digest   digest.Digest
}

func newPageData(m *Mirror, charts []manifests.Artifact, wait func() (contents, error)) (*pageData, error) {
	d := &pageData{
		bundles:    m.bundles,
		vendorKeys: make(map[string]string),
		yumKeys:    make(map[string][]string),
		ca:         certificates(m.options.CA),
		openPGP:    m.bundles[0].OpenPGPKey(),
		passwords:  m.options.Passwords != nil,
		charts:     charts,
		now:        time.Now,
		transfers:  func() []transfer { return m.metrics.transfers.list() },
		log:        m.log,
	}
	for _, dir := range m.options.Runs {
		d.runs = append(d.runs, &runReader{dir: dir})
	}
	for _, b := range m.bundles {
		for _, f := range b.Files() {
			switch g, _ := manifests.ParseGroup(f.Group); g.Kind {
			case "files":
				d.files = append(d.files, "/"+f.Label())
			case "yum":
				d.yum = append(d.yum, g.Distro)
			case "apt":
				d.apt = append(d.apt, g.Distro)
			}
		}
	}
	names, tags := m.registry.Repositories()
	for _, name := range names {
		host, _, _ := strings.Cut(name, "/")
		d.registries = append(d.registries, host)
		for _, tag := range tags[name] {
			d.images = append(d.images, name+":"+tag)
		}
	}
	for _, list := range []*[]string{&d.files, &d.registries, &d.yum, &d.apt} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	for _, b := range m.bundles {
		d.addBinaries(m.routes, b.Lock())
		d.addKeys(b.Lock())
	}
	d.addFingerprints()
	var err error
	d.contents, err = wait()
	return d, err
}

// addFingerprints lists the fingerprints of the OpenPGP keys on the pages.
func (d *pageData) addFingerprints() {
	add := func(path string, key []byte) {
		ring, err := trust.ReadKeyring(key)
		if err != nil {
			return // of a key that no client could use either
		}
		for _, f := range ring.Fingerprints() {
			d.keys = append(d.keys, openPGPKey{path, f})
		}
	}
	if len(d.openPGP) > 0 {
		add("/offk8s.asc", d.openPGP)
	}
	for _, path := range slices.Sorted(maps.Keys(d.vendorKeys)) {
		add(path, []byte(d.vendorKeys[path]))
	}
}

// contents are the summaries and artifacts of bundles for the pages.
type contents struct {
	summaries []bundle.Summary         // of the bundles, in their order
	artifacts []bundle.ArtifactSummary // of all bundles, each once, by kind and name
}

// startContents reads the contents of bundles beside its caller; wait returns them.
func startContents(bundles []*bundle.Bundle) (wait func() (contents, error)) {
	var c contents
	done := make(chan error, 1)
	go func() { done <- c.read(bundles) }()
	return sync.OnceValues(func() (contents, error) {
		err := <-done
		return c, err
	})
}

func (c *contents) read(bundles []*bundle.Bundle) error {
	seen := map[string]bool{}
	for _, b := range bundles {
		s, err := bundle.Inspect(b)
		if err != nil {
			return err
		}
		c.artifacts = slices.Grow(c.artifacts, len(s.Artifacts))
		for _, a := range s.Artifacts {
			if key := a.Kind + " " + a.Name + " " + a.Path; !seen[key] {
				seen[key] = true
				c.artifacts = append(c.artifacts, a)
			}
		}
		c.summaries = append(c.summaries, s.Summary)
	}
	slices.SortStableFunc(c.artifacts, func(a, b bundle.ArtifactSummary) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Distro, b.Distro), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Path, b.Path))
	})
	return nil
}

// addBinaries adds the offk8s programs of a bundle, one for each architecture.
func (d *pageData) addBinaries(t *routes, lock *manifests.Lock) {
	for _, a := range lock.Artifacts {
		path := "/" + a.Group + "/" + a.Path
		c := t.paths[path]
		arch, known := manifests.MachineArch(a.Arch())
		if a.Kind != manifests.KindFile || a.Name != "offk8s" || c == nil || !known || !shellSafe(path) {
			continue
		}
		plain := c.Digest
		if !c.Plain.IsZero() {
			plain = c.Plain.Digest
		}
		machines := manifests.Machine(arch) + "|" + arch
		if !slices.ContainsFunc(d.binaries, func(b binary) bool { return b.Machines == machines }) {
			d.binaries = append(d.binaries, binary{machines, path, plain})
		}
	}
}

// addKeys adds the vendor keys that verify the packages of a bundle.
func (d *pageData) addKeys(lock *manifests.Lock) {
	for _, distro := range d.yum {
		data := lock.DistroData[distro]
		for _, repo := range data.Yum {
			for _, file := range repo.KeyFiles {
				path := "/keys/" + distro + "/" + file
				if data.Keys[file] != "" && canonical(path) && shellSafe(path) && d.vendorKeys[path] == "" {
					d.vendorKeys[path] = data.Keys[file]
					d.yumKeys[distro] = append(d.yumKeys[distro], path)
				}
			}
		}
	}
}

var shellPattern = strict.NewPattern(`^[A-Za-z0-9./_+~@-]+$`)

// shellSafe reports whether no shell gives a character of s a special meaning.
func shellSafe(s string) bool { return shellPattern.MatchString(s) }

// certificates returns the certificates of a PEM file without the rest: if the
// file also holds a private key by mistake, it is not published.
func certificates(in []byte) []byte {
	var out bytes.Buffer
	for block, rest := pem.Decode(in); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			// Writing to a bytes.Buffer does not fail.
			_ = pem.Encode(&out, &pem.Block{Type: block.Type, Bytes: block.Bytes})
		}
	}
	return out.Bytes()
}

// fingerprint returns the fingerprint of the CA, or "" if there is none.
func (d *pageData) fingerprint() string {
	text, err := trust.Fingerprint(d.ca)
	if err != nil {
		return ""
	}
	return text
}
