package oci

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
)

// dockerHub is the host of image names without a host.
const dockerHub = "docker.io"

// Grammar of names, tags and hosts: distribution-spec v1.1, "Pulling manifests".
var (
	pathPattern = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	hostPattern = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]{1,5})?$`)
)

// maxName is the limit of clients for host and name together, in bytes.
const maxName = 255

// reference is a parsed image name.
type reference struct {
	host, path string // "registry.k8s.io", "coredns/coredns"
	tag        string // empty for a name by digest alone
	digest     digest.Digest
}

func (r reference) repository() string { return r.host + "/" + r.path }

// parseReference reads the full original name of an image in a bundle.
func parseReference(name string) (reference, error) {
	var r reference
	rest, dgst, byDigest := strings.Cut(name, "@")
	if byDigest {
		r.digest = digest.Digest(dgst)
		if err := r.digest.Validate(); err != nil {
			return r, fmt.Errorf("image name %q: digest: %w", name, err)
		}
	}
	if colon := strings.LastIndexByte(rest, ':'); colon > strings.LastIndexByte(rest, '/') {
		rest, r.tag = rest[:colon], rest[colon+1:]
		if !tagPattern.MatchString(r.tag) {
			return r, fmt.Errorf("image name %q: tag %q is not valid", name, r.tag)
		}
	}
	r.host, r.path = splitHost(rest)
	if !hostPattern.MatchString(r.host) || !pathPattern.MatchString(r.path) || len(r.repository()) > maxName {
		return r, fmt.Errorf("image name %q: %q is not a repository name", name, rest)
	}
	return r, nil
}

// splitHost splits a repository name into host and path as Docker does: the first
// component is a host if it looks like one, and official images of Docker Hub are
// below library/.
func splitHost(name string) (host, path string) {
	first, rest, found := strings.Cut(name, "/")
	if !found || !looksLikeHost(first) {
		host, path = dockerHub, name
	} else {
		host, path = canonicalHost(first), rest
	}
	if host == dockerHub && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	return host, path
}

func looksLikeHost(s string) bool {
	return strings.ContainsAny(s, ".:") || s == "localhost"
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
	if name == "" || len(name) > maxName {
		return false
	}
	if first, rest, found := strings.Cut(name, "/"); found && hostPattern.MatchString(first) && pathPattern.MatchString(rest) {
		return true
	}
	return pathPattern.MatchString(name)
}
