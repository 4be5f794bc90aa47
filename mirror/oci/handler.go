package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/manifests/strict"
	"github.com/offk8s/offk8s/mirror/files"
)

// maxPage caps the entries of one answer to tags/list and _catalog.
const maxPage = 1000

// Handler answers everything under /v2/. It is safe for concurrent use.
type Handler struct {
	repositories *repositories
	backend      Backend
}

// New returns a Handler for images. It returns an error if two images have the
// same name and different content, or if a manifest is damaged.
func New(images []bundle.ImageEntry, backend Backend) (*Handler, error) {
	all, err := newRepositories(images, backend)
	if err != nil {
		return nil, err
	}
	return &Handler{repositories: all, backend: backend}, nil
}

// Repositories returns the full names of all repositories with images, sorted, with
// their sorted tags.
func (h *Handler) Repositories() (names []string, tags map[string][]string) {
	tags = make(map[string][]string, len(h.repositories.names))
	for _, name := range h.repositories.names {
		if r := h.repositories.byName[name]; !r.isChart() {
			names, tags[name] = append(names, name), r.sorted
		}
	}
	return names, tags
}

// Serve answers a GET or HEAD request with a decoded path below /v2. It returns
// an error only if the mirror is at fault; errors of the client are answered.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	err := h.route(w, r)
	if e, ok := errors.AsType[*apiError](err); ok {
		e.write(w, r.Method == http.MethodHead)
		return nil
	}
	return err
}

func (h *Handler) route(w http.ResponseWriter, r *http.Request) error {
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/v2"), "/")
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &apiError{http.StatusBadRequest, codeUnsupported, "query cannot be parsed", nil}
	}
	switch path {
	case "":
		writeJSON(w, r.Method == http.MethodHead, http.StatusOK, "application/json", []byte("{}"))
		return nil
	case "_catalog":
		return h.catalog(w, r, query)
	}
	name, kind, ref := splitPath(path)
	switch kind {
	case "manifests":
		return h.manifest(w, r, name, query.Get("ns"), ref)
	case "blobs":
		return h.serveBlob(w, r, name, query.Get("ns"), ref)
	case "referrers":
		return h.referrers(w, r, name, ref, query)
	case "tags":
		return h.tags(w, r, name, query)
	}
	return &apiError{http.StatusNotFound, codeNameUnknown, fmt.Sprintf("no such endpoint: %q", r.URL.Path), nil}
}

// splitPath splits "<name>/<kind>/<ref>" from its end: a name may have any number
// of components, even one called "manifests".
func splitPath(path string) (name, kind, ref string) {
	last := strings.LastIndexByte(path, '/')
	if last < 0 {
		return "", "", ""
	}
	ref = path[last+1:]
	before := strings.LastIndexByte(path[:last], '/')
	if before < 0 || ref == "" {
		return "", "", ""
	}
	name, kind = path[:before], path[before+1:last]
	if kind == "tags" && ref != "list" {
		return "", "", ""
	}
	return name, kind, ref
}

// validate is digest.Digest.Validate in less time for the digests that images have.
func validate(d digest.Digest) error {
	if strict.IsDigest(d) {
		return nil
	}
	return d.Validate()
}

// wanted returns ref if it is a digest, else "".
func wanted(ref string) digest.Digest {
	if d := digest.Digest(ref); strict.IsDigest(d) {
		return d
	}
	return ""
}

func (h *Handler) manifest(w http.ResponseWriter, r *http.Request, name, ns, ref string) error {
	repo, err := h.repositories.find(name, ns, wanted(ref))
	if err != nil {
		return err
	}
	m, err := repo.manifest(ref)
	if err != nil {
		return err
	}
	return h.sendMemory(w, r, repo, m.descriptor, m.body, wanted(ref) != "")
}

// sendMemory sends content that is in memory since its digest was verified.
func (h *Handler) sendMemory(w http.ResponseWriter, r *http.Request, repo *repository, d ocispec.Descriptor, body []byte, immutable bool) error {
	w.Header().Set("Docker-Content-Digest", d.Digest.String())
	return h.backend.Send(w, r, &files.Content{
		Name:      repo.name + "@" + d.Digest.String(),
		Digest:    d.Digest,
		Data:      io.NewSectionReader(bytes.NewReader(body), 0, int64(len(body))),
		Type:      d.MediaType,
		Immutable: immutable,
		Verified:  true,
	})
}

func (h *Handler) serveBlob(w http.ResponseWriter, r *http.Request, name, ns, ref string) error {
	d := digest.Digest(ref)
	if err := validate(d); err != nil {
		return &apiError{http.StatusBadRequest, codeDigestInvalid, fmt.Sprintf("digest %q: %v", ref, err), nil}
	}
	repo, err := h.repositories.find(name, ns, d)
	if err != nil {
		return err
	}
	if config := repo.configs[d]; config != nil {
		return h.sendMemory(w, r, repo, ocispec.Descriptor{Digest: d}, config, true)
	}
	var c *files.Content
	if repo.holds(d) {
		c, err = h.backend.Blob(d)
	}
	if c == nil || err != nil {
		return &apiError{http.StatusNotFound, codeBlobUnknown, fmt.Sprintf("no blob %s of %q in the bundle", d, repo.name), nil}
	}
	w.Header().Set("Docker-Content-Digest", d.String())
	return h.backend.Send(w, r, c)
}

// referrers lists the manifests with the subject ref. If there are none, the
// index is empty (distribution-spec v1.1, "Listing Referrers").
func (h *Handler) referrers(w http.ResponseWriter, r *http.Request, name, ref string, query url.Values) error {
	d := digest.Digest(ref)
	if err := validate(d); err != nil {
		return &apiError{http.StatusBadRequest, codeDigestInvalid, fmt.Sprintf("digest %q: %v", ref, err), nil}
	}
	repo, err := h.repositories.find(name, query.Get("ns"), d)
	if err != nil {
		return err
	}
	list := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{},
	}
	filter := query.Get("artifactType")
	for _, d := range repo.referrers[d] {
		if filter == "" || d.ArtifactType == filter {
			list.Manifests = append(list.Manifests, d)
		}
	}
	if filter != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	body, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("referrers of %s: %w", d, err)
	}
	writeJSON(w, r.Method == http.MethodHead, http.StatusOK, ocispec.MediaTypeImageIndex, body)
	return nil
}

func (h *Handler) tags(w http.ResponseWriter, r *http.Request, name string, query url.Values) error {
	repo, err := h.repositories.find(name, query.Get("ns"), "")
	if err != nil {
		return err
	}
	page, err := paginate(w, r, repo.sorted, query)
	if err != nil {
		return err
	}
	body, err := json.Marshal(struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{name, page})
	if err != nil {
		return fmt.Errorf("tags of %q: %w", repo.name, err)
	}
	writeJSON(w, r.Method == http.MethodHead, http.StatusOK, "application/json", body)
	return nil
}

func (h *Handler) catalog(w http.ResponseWriter, r *http.Request, query url.Values) error {
	page, err := paginate(w, r, h.repositories.names, query)
	if err != nil {
		return err
	}
	body, err := json.Marshal(struct {
		Repositories []string `json:"repositories"`
	}{page})
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	writeJSON(w, r.Method == http.MethodHead, http.StatusOK, "application/json", body)
	return nil
}

// paginate returns the part of a sorted list that the parameters n and last
// select, at most maxPage entries, and sets the Link header if more follow.
func paginate(w http.ResponseWriter, r *http.Request, all []string, query url.Values) ([]string, error) {
	n := maxPage
	if text := query.Get("n"); text != "" {
		asked, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			return nil, &apiError{http.StatusBadRequest, codePagination, fmt.Sprintf("n=%q is not a number", text), nil}
		}
		n = int(min(asked, maxPage))
	}
	page := []string{}
	last := query.Get("last")
	for i, name := range all {
		if name <= last {
			continue
		}
		end := min(i+n, len(all))
		page = append(page, all[i:end]...)
		if n > 0 && end < len(all) {
			query.Set("n", strconv.Itoa(n))
			query.Set("last", all[end-1])
			next := url.URL{Path: r.URL.Path, RawQuery: query.Encode()}
			w.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", next.String()))
		}
		break
	}
	return page, nil
}
