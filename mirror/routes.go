package mirror

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/mirror/files"
	"github.com/offk8s/offk8s/mirror/oci"
)

// headTypes are the members before the blobs that /bundle/ serves.
var headTypes = map[string]string{
	bundle.MemberLayout:    "application/json",
	bundle.MemberIndex:     "application/json",
	bundle.MemberSignature: "application/octet-stream",
	bundle.MemberSigstore:  "application/json",
	bundle.MemberReadme:    "text/plain; charset=utf-8",
}

// suffixTypes are the content types of files by suffix. The table of the system is
// not used, so that all mirrors send the same types.
var suffixTypes = []struct{ suffix, mediaType string }{
	{".rpm", "application/x-rpm"},
	{".deb", "application/vnd.debian.binary-package"},
	{".xml", "text/xml; charset=utf-8"},
	{".asc", "text/plain; charset=utf-8"},
	{".gz", "application/gzip"},
	{".zst", "application/zstd"},
	{".xz", "application/x-xz"},
	{".json", "application/json"},
	{"Release", "text/plain; charset=utf-8"},
	{"Packages", "text/plain; charset=utf-8"},
}

func contentType(path string) string {
	for _, t := range suffixTypes {
		if strings.HasSuffix(path, t.suffix) {
			return t.mediaType
		}
	}
	return "application/octet-stream"
}

// routes is the map from URL paths to content.
type routes struct {
	blobs map[digest.Digest]*blob
	paths map[string]*files.Content
	from  map[string]digest.Digest // root of the bundle that a path came from, for messages
}

// newRoutes maps the files and head members of the bundles.
func newRoutes(bundles []*bundle.Bundle, blobs []*blob) (*routes, error) {
	t := &routes{
		blobs: make(map[digest.Digest]*blob, len(blobs)),
		paths: make(map[string]*files.Content, len(blobs)),
		from:  make(map[string]digest.Digest, len(blobs)),
	}
	for _, b := range blobs {
		t.blobs[b.digest] = b
	}
	var errs []error
	for i, b := range bundles {
		for _, f := range b.Files() {
			errs = append(errs, t.file(b.Root(), f))
		}
		for name, mediaType := range headTypes {
			body := b.HeadFile(name)
			if body == nil {
				continue
			}
			c := memory(name, mediaType, body)
			if i == 0 {
				t.paths["/bundle/"+name] = c
			}
			// The root tells several bundles apart.
			t.paths["/bundle/"+b.Root().Algorithm().String()+"/"+b.Root().Encoded()+"/"+name] = c
		}
	}
	return t, errors.Join(errs...)
}

func (t *routes) file(root digest.Digest, f bundle.FileEntry) error {
	path := "/" + f.Group + "/" + f.Path
	if !canonical(path) || strings.HasSuffix(path, "/") || strings.HasPrefix(path, "/v2/") {
		return fmt.Errorf("mirror: bundle %s: file %q cannot be served under that name", root, path)
	}
	c := &files.Content{Name: path, Digest: f.Blob.Digest, Type: contentType(path)}
	if f.MediaType == manifests.MediaTypeFileZstd {
		c.Plain = f.Plain
	}
	if other, ok := t.paths[path]; ok {
		if other.Digest == c.Digest {
			return nil
		}
		return fmt.Errorf("mirror: %q is %w: %s in %s, %s in %s: serve them apart",
			path, oci.ErrConflict, other.Digest, t.from[path], c.Digest, root)
	}
	b := t.blobs[f.Blob.Digest]
	if b == nil {
		return fmt.Errorf("mirror: bundle %s: file %q: blob %s is missing", root, path, f.Blob.Digest)
	}
	b.path, c.Data = path, b.data
	t.paths[path], t.from[path] = c, root
	return nil
}

// memory returns content that is not a blob.
func memory(name, mediaType string, body []byte) *files.Content {
	return &files.Content{
		Name:   name,
		Digest: digest.FromBytes(body),
		Data:   io.NewSectionReader(strings.NewReader(string(body)), 0, int64(len(body))),
		Type:   mediaType,
	}
}

// blobContent returns a blob as stored, for the registry and /bundle/blobs/.
func (t *routes) blobContent(d digest.Digest) (*files.Content, error) {
	b := t.blobs[d]
	if b == nil {
		return nil, fmt.Errorf("no blob %s", d)
	}
	return &files.Content{Name: b.name(), Digest: d, Data: b.data, Immutable: true}, nil
}

// find returns the content of a path, or nil if it has none.
func (t *routes) find(path string) *files.Content {
	if c := t.paths[path]; c != nil {
		return c
	}
	if rest, ok := strings.CutPrefix(path, "/bundle/blobs/"); ok {
		algorithm, hex, _ := strings.Cut(rest, "/")
		if c, err := t.blobContent(digest.Digest(algorithm + ":" + hex)); err == nil {
			return c
		}
	}
	return nil
}
