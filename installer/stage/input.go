package stage

import (
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/distro"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// arch returns the host's architecture.
func (in Input) arch(h manifests.Host) string {
	if f, ok := in.Facts[h.Name]; ok && f.Arch != "" {
		return f.Arch
	}
	if len(in.Lock.Arches) > 0 {
		return in.Lock.Arches[0]
	}
	return "amd64"
}

// errOS is the error of a host with an operating system that the bundle or this
// version does not support; the check "os" reports it.
var errOS = errors.New("operating system is not supported")

// distro returns the host's operating system; the error is errOS.
func (in Input) distro(h manifests.Host) (distro.Distro, error) {
	if f, ok := in.Facts[h.Name]; ok {
		d, ok := distro.Detect(f.OS.ID, f.OS.Version)
		if !ok {
			return d, fmt.Errorf("%w: %q %q", errOS, f.OS.ID, f.OS.Version)
		}
		return d, nil
	}
	name := h.OS
	if name == "" {
		if len(in.Lock.Distros) == 0 {
			return distro.Distro{}, fmt.Errorf("%w: the bundle has packages for none", errOS)
		}
		name = in.Lock.Distros[0]
	}
	if !slices.Contains(in.Lock.Distros, name) {
		return distro.Distro{}, fmt.Errorf("%w: the bundle has no packages for %q, only for %s", errOS, name, strings.Join(in.Lock.Distros, ", "))
	}
	d, ok := distro.ByName(name)
	if !ok {
		return d, fmt.Errorf("%w: %q", errOS, name)
	}
	return d, nil
}

// file finds a file of the bundle for the host, by its name or that in its archive.
func (in Input) file(h manifests.Host, name string) (manifests.Artifact, error) {
	platform := manifests.Platform(in.arch(h))
	for _, a := range in.Lock.Artifacts {
		if a.Kind != manifests.KindFile || a.Platform != platform && a.Platform != "" {
			continue
		}
		if a.Name == name || a.Source.Member != "" && path.Base(a.Source.Member) == name {
			return a, nil
		}
	}
	return manifests.Artifact{}, fmt.Errorf("file %q (%s) is not in the bundle", name, platform)
}

// hasFile reports whether the bundle has a file for the host.
func (in Input) hasFile(h manifests.Host, name string) bool {
	_, err := in.file(h, name)
	return err == nil
}

// image finds an image of the bundle by its full name.
func (in Input) image(ref string) (manifests.Artifact, error) {
	for _, a := range in.Lock.Artifacts {
		if a.Kind == manifests.KindImage && a.Name == ref {
			return a, nil
		}
	}
	return manifests.Artifact{}, fmt.Errorf("image %q is not in the bundle", ref)
}

// imageRef returns the reference of an image by digest, for pods.
func (in Input) imageRef(ref string) (string, error) {
	a, err := in.image(ref)
	if err != nil {
		return "", err
	}
	return step.ImageRef(a.Name, a.Blob.Digest), nil
}

// smokeImage returns the image of the smoke test.
func (in Input) smokeImage() (manifests.Artifact, error) {
	for _, a := range in.Lock.Artifacts {
		if a.Kind == manifests.KindImage && strings.HasPrefix(a.Name, manifests.SmokeImage+":") {
			return a, nil
		}
	}
	return manifests.Artifact{}, fmt.Errorf("image %q is not in the bundle", manifests.SmokeImage+":…")
}

// plain returns the digest of the uncompressed content of an artifact.
func plain(a manifests.Artifact) digest.Digest {
	if a.Plain.Digest != "" {
		return a.Plain.Digest
	}
	return a.Blob.Digest
}

// skips reports whether the user skips a group of the host preparation.
func (in Input) skips(group string) bool { return slices.Contains(in.Cluster.HostPrep.Skip, group) }

// nodeNames returns the nodes that are not away.
func (in Input) nodeNames() []string {
	var out []string
	for _, h := range in.present(in.Cluster.Nodes()) {
		out = append(out, h.Name)
	}
	return out
}

// newNodes returns the nodes on machines that have no journal of offk8s.
func (in Input) newNodes() []string {
	return slices.DeleteFunc(in.nodeNames(), func(n string) bool {
		f, ok := in.Facts[n]
		return !ok || f.Installed != nil
	})
}

// etcdURLs returns the client URLs of all members.
func (in Input) etcdURLs() []string {
	var out []string
	for _, h := range in.Cluster.HostsWith(manifests.RoleEtcd) {
		out = append(out, etcdURL(h, etcdClientPort))
	}
	return out
}

func etcdURL(h manifests.Host, port string) string {
	return "https://" + net.JoinHostPort(h.Address, port)
}

// addresses returns the addresses of all hosts.
func (in Input) addresses() []string { return addressesOf(in.Cluster.Hosts) }

func addressesOf(hosts []manifests.Host) []string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.Address)
	}
	return out
}
