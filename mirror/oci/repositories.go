package oci

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests/strict"
	"github.com/offk8s/offk8s/mirror/files"
)

// Backend holds the blobs of the bundles and sends them.
type Backend interface {
	// Blob returns the blob with the digest d, or an error if no bundle has it.
	Blob(d digest.Digest) (*files.Content, error)
	// Send answers a request with c.
	Send(w http.ResponseWriter, r *http.Request, c *files.Content) error
}

// manifest is a manifest or index in memory. Its digest was verified.
type manifest struct {
	descriptor ocispec.Descriptor
	body       []byte
}

// repository is the content of one name.
type repository struct {
	name      string // "registry.k8s.io/pause"
	tags      map[string]digest.Digest
	sorted    []string // the keys of tags
	manifests map[digest.Digest]*manifest
	blobs     map[digest.Digest]bool
	absent    map[digest.Digest]string // platform manifests that were left out, with their platform
	referrers map[digest.Digest][]ocispec.Descriptor
	configs   map[digest.Digest][]byte // of charts, which no bundle holds
}

// repositories are the repositories of all bundles.
type repositories struct {
	backend   Backend
	byName    map[string]*repository
	names     []string                 // sorted
	short     map[string][]*repository // by name without host
	manifests map[digest.Digest]*manifest
}

func newRepositories(images []bundle.ImageEntry, backend Backend) (*repositories, error) {
	s := &repositories{
		backend:   backend,
		byName:    make(map[string]*repository),
		short:     make(map[string][]*repository),
		manifests: make(map[digest.Digest]*manifest),
	}
	var errs []error
	for _, img := range images {
		if err := s.add(img); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s.names = slices.Sorted(maps.Keys(s.byName))
	for _, name := range s.names {
		r := s.byName[name]
		r.sorted = slices.Sorted(maps.Keys(r.tags))
		for _, list := range r.referrers {
			slices.SortFunc(list, func(a, b ocispec.Descriptor) int {
				return slices.Compare([]byte(a.Digest), []byte(b.Digest))
			})
		}
		_, short, _ := strings.Cut(name, "/")
		s.short[short] = append(s.short[short], r)
	}
	return s, nil
}

func (s *repositories) add(img bundle.ImageEntry) error {
	ref, err := parseReference(img.Name)
	if err != nil {
		return err
	}
	r := s.repository(ref.repository())
	root := img.Descriptor.Digest
	if ref.tag != "" {
		if other, ok := r.tags[ref.tag]; ok && other != root {
			return fmt.Errorf("image %q is %w: %s and %s", img.Name, ErrConflict, other, root)
		}
		r.tags[ref.tag] = root
	}
	if err := s.walk(r, img.Descriptor); err != nil {
		return fmt.Errorf("image %q: %w", img.Name, err)
	}
	return nil
}

// repository returns the repository of a name, a new one if there is none.
func (s *repositories) repository(name string) *repository {
	r := s.byName[name]
	if r == nil {
		r = &repository{
			name:      name,
			tags:      make(map[string]digest.Digest),
			manifests: make(map[digest.Digest]*manifest),
			blobs:     make(map[digest.Digest]bool),
			absent:    make(map[digest.Digest]string),
			referrers: make(map[digest.Digest][]ocispec.Descriptor),
			configs:   make(map[digest.Digest][]byte),
		}
		s.byName[name] = r
	}
	return r
}

// walk reads the manifest root and everything below it into r.
func (s *repositories) walk(r *repository, root ocispec.Descriptor) error {
	leftOut := func(d ocispec.Descriptor) bool {
		_, err := s.backend.Blob(d.Digest)
		if err != nil {
			r.absent[d.Digest] = platform(d)
		}
		return err != nil
	}
	for n, err := range image.Walk(root, s.read, leftOut) {
		if err != nil {
			return err
		}
		d := n.Descriptor.Digest
		if r.manifests[d] != nil {
			continue
		}
		if s.manifests[d] == nil {
			s.manifests[d] = &manifest{n.Descriptor, n.Body}
		}
		r.manifests[d] = s.manifests[d]
		r.refer(n)
		for _, blob := range n.Blobs() {
			r.blobs[blob.Digest] = true
		}
	}
	return nil
}

// refer records a manifest as a referrer if it has a subject.
func (r *repository) refer(n image.Node) {
	if n.Subject == nil {
		return
	}
	d := ocispec.Descriptor{
		MediaType:    n.Descriptor.MediaType,
		Digest:       n.Descriptor.Digest,
		Size:         n.Descriptor.Size,
		ArtifactType: n.ArtifactType,
		Annotations:  n.Annotations,
	}
	if d.ArtifactType == "" && n.Config != nil {
		d.ArtifactType = n.Config.MediaType
	}
	r.referrers[n.Subject.Digest] = append(r.referrers[n.Subject.Digest], d)
}

// read returns the bytes of a manifest after comparing them with its digest.
func (s *repositories) read(d ocispec.Descriptor) ([]byte, error) {
	if m := s.manifests[d.Digest]; m != nil {
		return m.body, nil
	}
	c, err := s.backend.Blob(d.Digest)
	if err != nil {
		return nil, err
	}
	if c.Data.Size() > image.MaxSize {
		return nil, fmt.Errorf("%d bytes, allowed %d", c.Data.Size(), image.MaxSize)
	}
	stored := io.NewSectionReader(c.Data, 0, c.Data.Size())
	return io.ReadAll(reader.Verify(stored, d.Digest, stored.Size()))
}

// platform returns the platform of d as text, "linux/arm64/v8".
func platform(d ocispec.Descriptor) string {
	if d.Platform == nil {
		return "unknown platform"
	}
	s := d.Platform.OS + "/" + d.Platform.Architecture
	if d.Platform.Variant != "" {
		s += "/" + d.Platform.Variant
	}
	return s
}

// find returns the repository for a request. name comes from the URL; ns is
// containerd's parameter for the registry of the image. If several repositories
// have that short name, find returns one that holds want, because the content is
// the same in all of them.
func (s *repositories) find(name, ns string, want digest.Digest) (*repository, error) {
	if r := s.byName[name]; r != nil && ns == "" {
		return r, nil // as most clients ask; the rest would find it too
	}
	if !validName(name) {
		return nil, &apiError{http.StatusBadRequest, codeNameInvalid, fmt.Sprintf("repository name %q is not valid", name), nil}
	}
	if ns != "" {
		if strings.Contains(ns, "/") || !validRepository(ns+"/"+name) {
			return nil, &apiError{http.StatusBadRequest, codeNameInvalid, fmt.Sprintf("registry %q in ns is not valid", ns), nil}
		}
		if r := s.exact(ns, name); r != nil {
			return r, nil
		}
	}
	if i, err := strict.ParseImage(name); err == nil && i.Host != "" {
		if r := s.exact(i.Host, i.Path); r != nil {
			return r, nil
		}
	}
	// If the client named a registry, no other one takes its place.
	if ns != "" {
		return nil, unknownName(ns + "/" + name)
	}
	return s.findShort(name, want)
}

// exact returns the repository with a full name, or nil.
func (s *repositories) exact(host, path string) *repository {
	host = canonicalHost(host)
	if host == dockerHub && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	return s.byName[host+"/"+path]
}

func (s *repositories) findShort(name string, want digest.Digest) (*repository, error) {
	if r := s.byName[name]; r != nil && r.isChart() {
		return r, nil
	}
	candidates := s.short[name]
	if len(candidates) == 0 && !strings.Contains(name, "/") {
		candidates = s.short["library/"+name]
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

// manifest returns a manifest by tag or digest.
func (r *repository) manifest(ref string) (*manifest, error) {
	d := r.tags[ref]
	if strings.Contains(ref, ":") {
		d = digest.Digest(ref)
		if err := validate(d); err != nil {
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
