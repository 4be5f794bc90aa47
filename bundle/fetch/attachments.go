package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests"
)

// Limits of attachments of an image. Some registries have indexes for lazy pulling or
// second forms of an image there, which are as large as the image.
const (
	maxAttachment  = 64 << 20 // bytes of each
	maxAttachments = 100
	maxPages       = 20 // of a list of referrers
)

// cosignSuffixes end the tags of cosign's signatures, attestations and SBOMs
// (sigstore/cosign specs/SIGNATURE_SPEC.md, "Tag-based Discovery").
var cosignSuffixes = []string{".sig", ".att", ".sbom"}

// attachments fetches attachments of images as images are fetched, with all of their content.
type attachments struct{ *images }

func (*attachments) Kind() manifests.ArtifactKind { return manifests.KindAttachment }

// Attachment is a signature, attestation or SBOM that hangs on an image.
type Attachment struct {
	Name   string // reference with cosign's tag or with the digest
	Digest digest.Digest
	Skip   string // why it cannot be in a bundle; empty if it can
}

// Attachments returns the attachments of the image of in its repository, by name: the manifests
// with the tags of cosign and the referrers of distribution-spec v1.1. Their manifests are
// put into the store. Attachments of single platforms are not looked for.
func (e Env) Attachments(ctx context.Context, ref ImageRef, of digest.Digest) ([]Attachment, error) {
	repo, err := e.Client.repository(ref.Repo)
	if err != nil {
		return nil, err
	}
	a := attached{Env: e, registries: newRegistries(e.Client), repo: repo, of: of, seen: map[digest.Digest]bool{}}
	stem := image.ReferrersTag(of)
	for _, suffix := range cosignSuffixes {
		body, _, err := a.registries.manifest(ctx, repo.Tag(stem+suffix))
		if IsMissing(err) {
			continue
		}
		if err == nil {
			err = a.add(ctx, ref.Repo+":"+stem+suffix, body, false)
		}
		if err != nil {
			return nil, fmt.Errorf("attachment %s: %w", stem+suffix, err)
		}
	}
	list, err := a.registries.referrers(ctx, repo, of)
	if err != nil {
		return nil, fmt.Errorf("referrers: %w", err)
	}
	for _, d := range list {
		if a.seen[d.Digest] || !image.Known(d.MediaType) {
			continue
		}
		body, _, err := a.registries.manifest(ctx, repo.Digest(d.Digest.String()))
		if err == nil {
			err = a.add(ctx, ref.Repo+"@"+d.Digest.String(), body, true)
		}
		if err != nil {
			return nil, fmt.Errorf("referrer %s: %w", d.Digest, err)
		}
	}
	if n := len(a.found); n > maxAttachments {
		return nil, fmt.Errorf("%d attachments, allowed %d", n, maxAttachments)
	}
	slices.SortFunc(a.found, func(x, y Attachment) int { return strings.Compare(x.Name, y.Name) })
	return a.found, nil
}

// attached is the state of one Attachments.
type attached struct {
	Env
	registries *registries
	repo       name.Repository
	of         digest.Digest
	seen       map[digest.Digest]bool
	found      []Attachment
}

// add adds the attachment with the manifest body. A referrer must name the image.
func (a *attached) add(ctx context.Context, name string, body []byte, referrer bool) error {
	x := Attachment{Name: name, Digest: digest.FromBytes(body)}
	if _, d, ok := strings.Cut(name, "@"); ok {
		x.Digest = digest.Digest(d)
	}
	a.seen[x.Digest] = true
	doc, err := image.Parse("", body)
	size := int64(len(body))
	for _, b := range doc.Blobs() {
		size += b.Size
	}
	switch {
	case err != nil:
		x.Skip = err.Error()
	case image.IsIndex(doc.MediaType):
		x.Skip = "is an index"
	case size > maxAttachment:
		x.Skip = fmt.Sprintf("has %d bytes, allowed %d", size, maxAttachment)
	case referrer && (doc.Subject == nil || doc.Subject.Digest != a.of):
		x.Skip = "does not refer to the image"
	default:
		if err := a.Store.Put(ctx, manifests.Descriptor{Digest: x.Digest}, bytes.NewReader(body)); err != nil {
			return err
		}
	}
	a.found = append(a.found, x)
	return nil
}

// referrers returns the manifests that refer to of: those of the referrers API or, if the
// registry does not have it, of the fallback tag (distribution-spec v1.1, "Listing Referrers").
func (r *registries) referrers(ctx context.Context, repo name.Repository, of digest.Digest) (list []ocispec.Descriptor, err error) {
	s, err := r.session(ctx, repo)
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("%s://%s/v2/%s/referrers/%s", repo.Scheme(), repo.RegistryStr(), repo.RepositoryStr(), of)
	for page := 0; address != ""; page++ {
		if page == maxPages {
			return nil, fmt.Errorf("more than %d pages", maxPages)
		}
		var body []byte
		var next string
		err = r.client.retry(ctx, address, func() (bool, error) {
			body, next, err = s.referrersPage(ctx, address)
			return false, registryError(err)
		})
		if errors.Is(err, errNoReferrers) {
			return r.taggedReferrers(ctx, repo, of)
		}
		if err != nil {
			return nil, refused(err, s.note)
		}
		doc, err := image.Parse(ocispec.MediaTypeImageIndex, body)
		if err != nil {
			return nil, err
		}
		list, address = append(list, doc.Manifests...), next
	}
	return list, nil
}

// taggedReferrers returns the manifests that the fallback tag lists.
func (r *registries) taggedReferrers(ctx context.Context, repo name.Repository, of digest.Digest) ([]ocispec.Descriptor, error) {
	body, _, err := r.manifest(ctx, repo.Tag(image.ReferrersTag(of)))
	if IsMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	doc, err := image.Parse("", body)
	return doc.Manifests, err
}

// errNoReferrers means that a registry does not have the referrers API.
var errNoReferrers = errors.New("no referrers API")

// referrersPage sends one request and returns the index and the address of the next page,
// "" after the last.
func (s *session) referrersPage(ctx context.Context, address string) (body []byte, next string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, "", permanent{err}
	}
	req.Header.Set("Accept", ocispec.MediaTypeImageIndex)
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	switch {
	case resp.StatusCode == http.StatusOK && mediaType == ocispec.MediaTypeImageIndex:
	case resp.StatusCode == http.StatusTooManyRequests,
		resp.StatusCode >= http.StatusInternalServerError && resp.StatusCode != http.StatusNotImplemented:
		return nil, "", statusError(address, resp)
	default:
		return nil, "", permanent{errNoReferrers}
	}
	if body, err = io.ReadAll(reader.Limit(resp.Body, image.MaxSize)); err != nil {
		return nil, "", fmt.Errorf("referrers: %w", err)
	}
	return body, nextPage(resp), nil
}

// nextPage returns the address in the Link header of an answer, "" if there is none.
func nextPage(resp *http.Response) string {
	link, rest, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
	if !strings.Contains(rest, `rel="next"`) {
		return ""
	}
	u, err := resp.Request.URL.Parse(link)
	if err != nil || u.Host != resp.Request.URL.Host {
		return ""
	}
	return u.String()
}
