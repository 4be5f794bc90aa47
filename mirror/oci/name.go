package oci

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests/strict"
)

// dockerHub is the host of image names without a host.
const dockerHub = "docker.io"

// reference is a parsed image name.
type reference struct {
	host, path string // "registry.k8s.io", "coredns/coredns"
	tag        string // empty for a name by digest alone
	digest     digest.Digest
}

func (r reference) repository() string { return r.host + "/" + r.path }

// parseReference reads the full original name of an image in a bundle.
func parseReference(name string) (reference, error) {
	i, err := strict.ParseImage(name)
	if err != nil {
		return reference{}, fmt.Errorf("image name %q: %w", name, err)
	}
	r := reference{tag: i.Tag, digest: i.Digest}
	r.host, r.path = splitHost(i)
	return r, nil
}

// splitHost returns host and path of a repository as Docker completes them: names
// without a host and official images of Docker Hub, which are below library/.
func splitHost(i strict.Image) (host, path string) {
	host, path = canonicalHost(cmp.Or(i.Host, dockerHub)), i.Path
	if host == dockerHub && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	return host, path
}

// canonicalHost returns "docker.io" for the other names of Docker Hub.
func canonicalHost(host string) string {
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		return dockerHub
	}
	return host
}

// validName reports whether a name from a URL can be that of a repository, with
// or without a host.
func validName(name string) bool {
	return validRepository(name) || validRepository(dockerHub+"/"+name)
}

func validRepository(name string) bool {
	i, err := strict.ParseImage(name)
	return err == nil && i.Tag == "" && i.Digest == ""
}
