// Package upstream is the lab's stand-in for the real upstreams: release
// archives, a registry and yum repositories with real components that were
// built from Go modules (test/lab/components), laid out under the very URLs
// that the catalog names. `offk8s pack` reaches it through its own --rewrite
// and --catalog, because the digests of own builds differ from upstream's.
package upstream

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// Config lists the parts of the stand-in.
type Config struct {
	Release catalog.Release
	// Network is the name of the pod network, CNI its version.
	Network string
	CNI     catalog.CNIRelease
	// Binaries are directories that are searched in order for an archive's members.
	Binaries []string
	// RPMs is the directory that rpms.sh writes: <distro>/… and RPM-GPG-KEY-lab.
	RPMs string
	// Distros are the RPM-family distros that it stands in for.
	Distros []catalog.Distro
	// Docker are the directories of docker's programs; none: there is no docker.
	Docker []string
	// ToolsRoot holds iptables, ipset and their libraries, for the images of networks that call them.
	ToolsRoot string
	// Work is a directory for the archives and the catalog overlay.
	Work string
}

// Upstream is a running stand-in on loopback.
type Upstream struct {
	Catalog  string // directory for --catalog
	server   *httptest.Server
	rewrites []manifests.Rewrite
}

// Start lays everything out and serves it.
func Start(c Config) (*Upstream, error) {
	u := &Upstream{Catalog: filepath.Join(c.Work, "catalog")}
	files := filepath.Join(c.Work, "files")
	mux := http.NewServeMux()
	mux.Handle("/v2/", registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	mux.Handle("/files/", http.StripPrefix("/files/", http.FileServer(http.Dir(files))))
	mux.Handle("/rpms/", http.StripPrefix("/rpms/", http.FileServer(http.Dir(c.RPMs))))
	u.server = httptest.NewServer(mux)

	release := map[string]any{"apiVersion": manifests.APIVersion, "kind": catalog.KindRelease, "minor": c.Release.Minor}
	components, err := u.archives(c, files)
	if err != nil {
		return nil, err
	}
	release["components"] = components
	if release["images"], err = u.images(c, c.Release.Images); err != nil {
		return nil, err
	}
	if err := writeYAML(filepath.Join(u.Catalog, "kubernetes", c.Release.Minor+".yaml"), release); err != nil {
		return nil, err
	}
	images, err := u.images(c, c.CNI.Images)
	if err != nil {
		return nil, err
	}
	network := map[string]any{
		"apiVersion": manifests.APIVersion, "kind": catalog.KindCNI,
		"releases": []any{map[string]any{"from": c.CNI.From, "images": images}},
	}
	if err := writeYAML(filepath.Join(u.Catalog, "cni", c.Network, "cni.yaml"), network); err != nil {
		return nil, err
	}
	return u, u.distros(c)
}

// Close stops the server.
func (u *Upstream) Close() { u.server.Close() }

// Rewrites returns the --rewrite arguments that lead pack to the stand-in.
func (u *Upstream) Rewrites() []string {
	seen := map[string]bool{}
	var args []string
	for _, m := range u.rewrites {
		if arg := m.From + "=" + m.To; !seen[arg] {
			seen[arg] = true
			args = append(args, arg)
		}
	}
	sort.Strings(args)
	return args
}

// archives makes the file behind every component's amd64 URL and returns the
// components' overlay with the digests of what it made.
func (u *Upstream) archives(c Config, dir string) ([]map[string]any, error) {
	var overlay []map[string]any
	for _, d := range c.Release.Components {
		if d.Name == manifests.RuntimeDocker {
			if len(c.Docker) == 0 {
				continue // pack takes it on request alone
			}
			d.Version, d.Members = dockerVersion, dockerMembers
		}
		remote, ok := d.Arches["amd64"]
		if !ok {
			return nil, fmt.Errorf("component %q has no amd64 download", d.Name)
		}
		at, err := url.Parse(remote.URL)
		if err != nil {
			return nil, err
		}
		name := filepath.Join(dir, at.Host, filepath.FromSlash(at.Path))
		sum, err := u.component(c, d, name)
		if err != nil {
			return nil, fmt.Errorf("component %q: %w", d.Name, err)
		}
		u.rewrites = append(u.rewrites, manifests.Rewrite{From: "https://" + at.Host + "/", To: u.server.URL + "/files/" + at.Host + "/"})
		overlay = append(overlay, map[string]any{
			"name": d.Name, "version": d.Version, "members": d.Members,
			"arches": map[string]any{"amd64": map[string]string{"url": remote.URL, "digest": "sha256:" + sum}},
		})
	}
	return overlay, nil
}

// The docker of the lab, Debian's, in the layout of the static archive; runc calls runc.real.
const dockerVersion = "20.10.24"

var dockerMembers = []string{
	"docker/docker", "docker/dockerd", "docker/docker-init", "docker/docker-proxy", "docker/containerd",
	"docker/containerd-shim-runc-v2", "docker/ctr", "docker/runc", "docker/runc.real",
}

// component writes one upstream file: a bare binary, or a tar.gz of the members.
func (u *Upstream) component(c Config, d catalog.Download, name string) (sum string, err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return "", err
	}
	out, err := os.Create(name)
	if err != nil {
		return "", err
	}
	defer out.Close()
	hash := sha256.New()
	w := io.MultiWriter(out, hash)
	dirs := c.Binaries
	if d.Name == manifests.RuntimeDocker {
		dirs = c.Docker
	}
	if len(d.Members) == 0 {
		if err := copyBinary(w, dirs, d.Name); err != nil {
			return "", err
		}
	} else if err := writeTarball(w, dirs, d.Members); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), out.Close()
}

func writeTarball(w io.Writer, dirs, members []string) error {
	zw, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(zw)
	for _, m := range members {
		m = strings.ReplaceAll(m, "{arch}", "amd64")
		f, err := openBinary(dirs, path.Base(m))
		if err != nil {
			return err
		}
		st, err := f.Stat()
		if err == nil {
			err = tw.WriteHeader(&tar.Header{Name: m, Mode: 0o755, Size: st.Size(), Format: tar.FormatUSTAR})
		}
		if err == nil {
			_, err = io.Copy(tw, f)
		}
		f.Close()
		if err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return zw.Close()
}

func copyBinary(w io.Writer, dirs []string, name string) error {
	f, err := openBinary(dirs, name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func openBinary(dirs []string, name string) (*os.File, error) {
	for _, dir := range dirs {
		if f, err := os.Open(filepath.Join(dir, name)); err == nil {
			return f, nil
		}
	}
	return nil, fmt.Errorf("no binary %q in %v", name, dirs)
}

// archives are the roots of the distributions' archives that rpms.sh lays out below.
var archives = map[string]string{
	"rocky-9":  "https://dl.rockylinux.org/pub/rocky/9/",
	"centos-7": "https://vault.centos.org/7.9.2009/",
}

// distros points every yum repository of the RPM-family distros at the lab's
// repository and its key.
func (u *Upstream) distros(c Config) error {
	key, err := os.ReadFile(filepath.Join(c.RPMs, "RPM-GPG-KEY-lab"))
	if err != nil {
		return err
	}
	if err := write(filepath.Join(u.Catalog, "keys", "lab.asc"), key); err != nil {
		return err
	}
	for _, d := range c.Distros {
		var repos []map[string]any
		for _, r := range d.Yum {
			u.rewrites = append(u.rewrites, manifests.Rewrite{From: archives[d.Name], To: u.server.URL + "/rpms/" + d.Name + "/"})
			repos = append(repos, map[string]any{
				"id": r.ID, "baseURL": r.BaseURL, "keyFiles": []string{"lab.asc"}, "signedMetadata": true,
			})
		}
		err := writeYAML(filepath.Join(u.Catalog, "distro", d.Name+".yaml"), map[string]any{
			"apiVersion": manifests.APIVersion, "kind": catalog.KindDistro, "name": d.Name, "yum": repos,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func writeYAML(name string, v any) error {
	b, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	return write(name, b)
}

func write(name string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o644)
}
