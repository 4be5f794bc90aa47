package mirror

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/manifests"
)

// Where the generated configuration expects things on a host.
const (
	caPath      = "/etc/offk8s/ca.crt"           // the mirror's CA certificate
	keyringPath = "/etc/apt/keyrings/offk8s.asc" // the OpenPGP key of the apt repository
)

// site is what the generated pages are made of.
type site struct {
	bundles []*bundle.Bundle
	yum     []string            // distros with a yum repository, sorted
	apt     []string            // distros with an apt repository, sorted
	keys    map[string][]string // names of vendor keys by yum distro
	vendor  map[string]string   // armoured vendor keys by path, "/keys/centos-7/centos-7.asc"
	images  []string            // full names with tag, sorted
	hosts   []string            // registries of the images, sorted
	files   []string            // paths of the group files, sorted
	self    []binary            // the offk8s binaries of the bundle
	ca      []byte              // PEM, certificates only
	openPGP []byte
	fixed   string // PublicURL, empty for the request's own
}

// binary is an offk8s program in the bundle.
type binary struct {
	Machines string // what uname -m prints there, as a shell pattern
	Path     string
	Digest   digest.Digest
}

func newSite(m *Mirror) site {
	s := site{
		bundles: m.bundles, keys: make(map[string][]string), vendor: make(map[string]string),
		ca: certificates(m.options.CA), openPGP: m.bundles[0].OpenPGPKey(), fixed: m.options.PublicURL,
	}
	for path := range m.routes.paths {
		parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
		if len(parts) > 1 && parts[0] != "files" && !shellSafe(parts[1]) {
			continue // no configuration can be written for a distro of such a name
		}
		switch {
		case parts[0] == "files":
			s.files = append(s.files, path)
		case parts[0] == "yum" && len(parts) > 3 && !slices.Contains(s.yum, parts[1]):
			s.yum = append(s.yum, parts[1])
		case parts[0] == "apt" && len(parts) > 3 && parts[2] == "dists" && !slices.Contains(s.apt, parts[1]):
			s.apt = append(s.apt, parts[1])
		}
	}
	slices.Sort(s.apt)
	slices.Sort(s.yum)
	slices.Sort(s.files)
	names, tags := m.registry.Repositories()
	for _, name := range names {
		host, _, _ := strings.Cut(name, "/")
		if !slices.Contains(s.hosts, host) {
			s.hosts = append(s.hosts, host)
		}
		for _, tag := range tags[name] {
			s.images = append(s.images, name+":"+tag)
		}
	}
	for _, b := range m.bundles {
		s.addLock(m, b.Lock())
	}
	return s
}

// addLock takes from a Lock what cannot be told from the paths: which files are
// offk8s itself, and the vendor keys that the packages are signed with.
func (s *site) addLock(m *Mirror, lock *manifests.Lock) {
	for _, a := range lock.Artifacts {
		path := "/" + a.Group + "/" + a.Path
		c := m.routes.paths[path]
		arch, known := manifests.MachineArch(a.Arch())
		if a.Kind != manifests.KindFile || a.Name != "offk8s" || c == nil || !known || !shellSafe(path) {
			continue
		}
		plain := c.Digest
		if !c.Plain.IsZero() {
			plain = c.Plain.Digest
		}
		pattern := manifests.Machine(arch) + "|" + arch
		if !slices.ContainsFunc(s.self, func(b binary) bool { return b.Machines == pattern }) {
			s.self = append(s.self, binary{pattern, path, plain})
		}
	}
	for _, distro := range s.yum {
		data := lock.DistroData[distro]
		for _, repo := range data.Yum {
			for _, file := range repo.KeyFiles {
				path := "/keys/" + distro + "/" + file
				if data.Keys[file] != "" && canonical(path) && shellSafe(path) && s.vendor[path] == "" {
					s.vendor[path] = data.Keys[file]
					s.keys[distro] = append(s.keys[distro], path)
				}
			}
		}
	}
}

var shellPattern = regexp.MustCompile(`^[A-Za-z0-9./_+~@-]+$`)

// shellSafe reports whether s means itself in any shell.
func shellSafe(s string) bool { return shellPattern.MatchString(s) }

// certificates returns the certificates of a PEM file and nothing else of it: a
// key that was put into the same file by mistake is not published.
func certificates(in []byte) []byte {
	var out bytes.Buffer
	for block, rest := pem.Decode(in); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			// A bytes.Buffer takes everything.
			_ = pem.Encode(&out, &pem.Block{Type: block.Type, Bytes: block.Bytes})
		}
	}
	return out.Bytes()
}

// fingerprint is the one of the first certificate, "sha256:<hex>" of its DER as
// in caFingerprint of cluster.yaml; empty without one.
func (s *site) fingerprint() string {
	block, _ := pem.Decode(s.ca)
	if block == nil {
		return ""
	}
	sum := sha256.Sum256(block.Bytes)
	return "sha256:" + hex.EncodeToString(sum[:])
}

var basePattern = regexp.MustCompile(`^https?://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)

// validBase reports whether s is scheme, host and port and nothing else: it is
// written into shell scripts and configuration files.
func validBase(s string) bool { return basePattern.MatchString(s) }

// base is the URL that the client of r reaches the mirror under.
func (s *site) base(r *http.Request) (string, error) {
	if s.fixed != "" {
		return s.fixed, nil
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	if base := scheme + r.Host; validBase(base) {
		return base, nil
	}
	return "", fmt.Errorf("host %q is not a host name with an optional port", r.Host)
}
