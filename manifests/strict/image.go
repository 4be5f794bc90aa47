package strict

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Grammar of image names: distribution-spec v1.1, "Pulling manifests".
var (
	imageHost = NewPattern(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[0-9]{1,5})?$`)
	imagePath = NewPattern(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	imageTag  = NewPattern(`^[a-zA-Z0-9_][a-zA-Z0-9._-]*$`) // of maxImageTag bytes
)

const (
	// maxImageName is the limit of clients for host and path together, in bytes.
	maxImageName = 255
	maxImageTag  = 128
)

// Image is a parsed image reference.
type Image struct {
	Host   string        // "registry.k8s.io", "localhost:5000"; empty if the reference has none
	Path   string        // "coredns/coredns"
	Tag    string        // may be empty
	Digest digest.Digest // may be empty
}

// ParseImage parses the name of an image. Everything in offk8s that accepts one
// does it with ParseImage, so that the mirror serves all that pack accepts. The error
// names the part that is wrong. The first component is a host if it has a dot or
// a colon or is localhost, as for Docker.
func ParseImage(ref string) (Image, error) {
	var i Image
	rest, sum, byDigest := strings.Cut(ref, "@")
	if byDigest {
		i.Digest = digest.Digest(sum)
		if sum == "" {
			return i, errors.New("no digest after @")
		}
		if err := CheckDigest(i.Digest); err != nil {
			return i, err
		}
	}
	if colon := strings.LastIndexByte(rest, ':'); colon > strings.LastIndexByte(rest, '/') {
		rest, i.Tag = rest[:colon], rest[colon+1:]
		if len(i.Tag) > maxImageTag || !imageTag.MatchString(i.Tag) {
			return i, fmt.Errorf("tag %q: want 1 to %d letters, digits, dots, dashes and underscores", i.Tag, maxImageTag)
		}
	}
	i.Path = rest
	if first, path, found := strings.Cut(rest, "/"); found && (strings.ContainsAny(first, ".:[]") || strings.ToLower(first) == "localhost") {
		i.Host, i.Path = first, path
		if !imageHost.MatchString(i.Host) {
			return i, fmt.Errorf("registry %q: want a DNS name or an IPv4 address in lower case, with or without a port", i.Host)
		}
	}
	if !imagePath.MatchString(i.Path) {
		return i, fmt.Errorf("repository %q: want lower-case letters and digits, separated by one dot, one or two underscores, or dashes", i.Path)
	}
	length := len(rest)
	if i.Host == "" || i.Host == "docker.io" {
		length = len("docker.io/library/" + i.Path) // as Docker completes it
	}
	if length > maxImageName {
		return i, fmt.Errorf("registry and repository have %d characters, want at most %d", length, maxImageName)
	}
	return i, nil
}

// CheckImageRef returns an error unless s is a full image reference. It must name
// the registry, since every tool has another default.
func CheckImageRef(s string) error {
	if scheme, _, ok := strings.Cut(s, "://"); ok {
		return fmt.Errorf("no scheme %s:// before the registry", scheme)
	}
	i, err := ParseImage(s)
	if err != nil {
		return err
	}
	if i.Host == "" {
		return errors.New("no registry such as docker.io before the repository")
	}
	return nil
}
