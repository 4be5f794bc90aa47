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
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
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

// distro returns the distribution of the bundle whose packages the host uses; the error
// is errOS, with the reason.
func (in Input) distro(h manifests.Host) (distro.Distro, error) {
	release, known := in.osOf(h)
	if !known {
		return distro.Distro{}, fmt.Errorf("%w: the bundle has packages for none", errOS)
	}
	data, err := release.Match(in.distros(h))
	if err != nil {
		return distro.Distro{}, fmt.Errorf("%w: the bundle has packages for %s only: %w", errOS, strings.Join(in.Lock.Distros, ", "), err)
	}
	d, ok := distro.ByName(data.Name)
	if !ok {
		return d, fmt.Errorf("%w: %q", errOS, data.Name)
	}
	return d, nil
}

// osOf returns the operating system of a host: the observed one, or without facts the one
// that cluster.yaml or else the bundle names.
func (in Input) osOf(h manifests.Host) (catalog.OSRelease, bool) {
	if f, ok := in.Facts[h.Name]; ok {
		return f.OS, true
	}
	name := h.OS
	if name == "" && len(in.Lock.Distros) > 0 {
		name = in.Lock.Distros[0]
	}
	return in.named(name), name != ""
}

// named returns the operating system with a name such as "rocky-9" or "rhel-9".
func (in Input) named(name string) catalog.OSRelease {
	if d, ok := in.Lock.DistroData[name]; ok {
		return catalog.OSRelease{ID: d.ID, Version: d.Major, Name: name}
	}
	id, version, _ := strings.Cut(name, "-")
	return catalog.OSRelease{ID: id, Version: version, Name: name}
}

// distros returns the distributions of the bundle, that which cluster.yaml names for the
// host first: it decides between relatives.
func (in Input) distros(h manifests.Host) []catalog.Distro {
	var out []catalog.Distro
	for _, name := range in.Lock.Distros {
		d := in.Lock.DistroData[name]
		if name == h.OS {
			out = slices.Insert(out, 0, d)
		} else {
			out = append(out, d)
		}
	}
	return out
}

// relativeOf returns the reason if a host uses the packages of another distribution, or "".
func (in Input) relativeOf(h manifests.Host, d distro.Distro) string {
	if release, _ := in.osOf(h); !in.Lock.DistroData[d.Name].Is(release) {
		return fmt.Sprintf("%s uses the packages of %s, a relative of the same major version", release, d.Name)
	}
	return ""
}

// file finds a file of the bundle for the host, by its name or that in its archive.
func (in Input) file(h manifests.Host, name string) (manifests.Artifact, error) {
	return in.componentFile(h, "", name)
}

// componentFile finds a file of a component. Without a component it ignores docker, whose
// archive has a containerd and a runc too.
func (in Input) componentFile(h manifests.Host, component, name string) (manifests.Artifact, error) {
	platform := manifests.Platform(in.arch(h))
	for _, a := range in.Lock.Artifacts {
		if a.Kind != manifests.KindFile || a.Platform != platform && a.Platform != "" {
			continue
		}
		if of, _, _ := strings.Cut(a.Path, "/"); component != "" && of != component || component == "" && of == manifests.RuntimeDocker {
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

// imageRef returns the reference of an image for pods.
func (in Input) imageRef(ref string) (string, error) {
	a, err := in.image(ref)
	if err != nil {
		return "", err
	}
	return in.runtime().ref(a), nil
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

// addresses returns all addresses of all hosts.
func (in Input) addresses() []string { return allAddressesOf(in.Cluster.Hosts) }

// allAddressesOf returns the addresses of hosts, and then their second ones.
func allAddressesOf(hosts []manifests.Host) []string {
	out := addressesOf(hosts)
	for _, h := range hosts {
		if h.SecondAddress != "" {
			out = append(out, h.SecondAddress)
		}
	}
	return out
}

func addressesOf(hosts []manifests.Host) []string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.Address)
	}
	return out
}
