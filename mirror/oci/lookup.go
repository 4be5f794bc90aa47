package oci

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
)

// find returns the repository that a request means. name comes from the URL,
// ns is containerd's parameter for the registry that the image belongs to. With
// a digest to look for, any repository of that name that holds it will do: the
// content is the same.
func (x *index) find(name, ns string, want digest.Digest) (*repository, error) {
	if !validName(name) {
		return nil, &apiError{http.StatusBadRequest, codeNameInvalid, fmt.Sprintf("repository name %q is not valid", name), nil}
	}
	if ns != "" {
		if !hostPattern.MatchString(ns) {
			return nil, &apiError{http.StatusBadRequest, codeNameInvalid, fmt.Sprintf("registry %q in ns is not valid", ns), nil}
		}
		if r := x.exact(ns, name); r != nil {
			return r, nil
		}
	}
	if first, rest, found := strings.Cut(name, "/"); found && looksLikeHost(first) {
		if r := x.exact(first, rest); r != nil {
			return r, nil
		}
	}
	// A registry that the client named is never replaced by another one.
	if ns != "" {
		return nil, unknownName(ns + "/" + name)
	}
	return x.findShort(name, want)
}

// exact finds a repository under its full name.
func (x *index) exact(host, path string) *repository {
	host = canonicalHost(host)
	if host == dockerHub && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	return x.repositories[host+"/"+path]
}

func (x *index) findShort(name string, want digest.Digest) (*repository, error) {
	candidates := x.short[name]
	if len(candidates) == 0 && !strings.Contains(name, "/") {
		candidates = x.short["library/"+name]
	}
	switch len(candidates) {
	case 0:
		return nil, unknownName(name)
	case 1:
		return candidates[0], nil
	}
	names := make([]string, len(candidates))
	for i, r := range candidates {
		if want != "" && r.holds(want) {
			return r, nil
		}
		names[i] = r.name
	}
	return nil, &apiError{
		http.StatusBadRequest, codeNameInvalid,
		fmt.Sprintf("repository name %q is ambiguous: ask for %s, or add ?ns=<registry>", name, strings.Join(names, " or ")), names,
	}
}

func (r *repository) holds(d digest.Digest) bool {
	return r.blobs[d] || r.manifests[d] != nil
}

func unknownName(name string) error {
	return &apiError{http.StatusNotFound, codeNameUnknown, fmt.Sprintf("no image %q in the bundle", name), nil}
}

// manifest finds a manifest by tag or digest.
func (r *repository) manifest(ref string) (*manifest, error) {
	d := r.tags[ref]
	if strings.Contains(ref, ":") {
		d = digest.Digest(ref)
		if err := d.Validate(); err != nil {
			return nil, &apiError{http.StatusBadRequest, codeDigestInvalid, fmt.Sprintf("digest %q: %v", ref, err), nil}
		}
	}
	if m := r.manifests[d]; m != nil {
		return m, nil
	}
	message := fmt.Sprintf("no manifest %q of %q in the bundle", ref, r.name)
	if platform, ok := r.absent[d]; ok {
		message = fmt.Sprintf("manifest %s of %q is for %s, a platform that was left out of the bundle", d, r.name, platform)
	}
	return nil, &apiError{http.StatusNotFound, codeManifestUnknown, message, nil}
}
