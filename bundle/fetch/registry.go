package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/net/publicsuffix"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests/strict"
)

// ImageRef is an image reference as a Lock names it.
type ImageRef struct {
	Name   string        // "docker.io/library/nginx:1.27", "registry.k8s.io/pause:3.10"
	Repo   string        // Name without tag or digest
	Tag    string        // empty if there is only a digest
	Digest digest.Digest // empty if there is only a tag
}

// ParseImage parses a reference with the usual defaults: docker.io, library/ and
// :latest. If it has a tag and a digest, Name has the tag.
func ParseImage(ref string) (ImageRef, error) {
	base, pinned, hasDigest := strings.Cut(ref, "@")
	var out ImageRef
	if hasDigest {
		out.Digest = digest.Digest(pinned)
		if err := out.Digest.Validate(); err != nil {
			return ImageRef{}, fmt.Errorf("image %q: digest: %w", ref, err)
		}
	}
	tag, err := name.NewTag(base, name.WeakValidation)
	if err != nil {
		return ImageRef{}, fmt.Errorf("image %q: %w", ref, err)
	}
	registry := tag.RegistryStr()
	if registry == name.DefaultRegistry {
		registry = "docker.io"
	}
	out.Repo = registry + "/" + tag.RepositoryStr()
	out.Name = out.Repo + ":" + tag.TagStr()
	out.Tag = tag.TagStr()
	if hasDigest && !strings.Contains(base[strings.LastIndex(base, "/")+1:], ":") {
		out.Tag, out.Name = "", out.Repo+"@"+pinned
	}
	if _, err := strict.ParseImage(out.Name); err != nil {
		return ImageRef{}, fmt.Errorf("image %q: %w", ref, err)
	}
	return out, nil
}

// repository returns the repository that images of repo are pulled from, after
// rewrites.
func (c *Client) repository(repo string) (name.Repository, error) {
	target, _ := c.rewrite(repo)
	options := []name.Option{name.WeakValidation}
	if rest, ok := strings.CutPrefix(target, "http://"); ok {
		target, options = rest, append(options, name.Insecure)
	}
	target = strings.TrimPrefix(target, "https://")
	registry, path, _ := strings.Cut(target, "/")
	// NewRepository of the whole reference would take a host without a dot for a
	// namespace of Docker Hub.
	reg, err := name.NewRegistry(registry, options...)
	if err == nil {
		_, err = name.NewRepository(reg.RegistryStr()+"/"+path, options...)
	}
	if err != nil {
		return name.Repository{}, fmt.Errorf("repository %q: %w", target, err)
	}
	return reg.Repo(path), nil
}

// session is an authenticated connection to one repository.
type session struct {
	repo name.Repository
	http *http.Client
	note error // why there are no credentials, nil if nothing went wrong
}

// registries keeps one session per repository, so that each needs only one
// token.
type registries struct {
	client   *Client
	mu       sync.Mutex
	sessions map[name.Repository]*session
}

func newRegistries(c *Client) *registries {
	return &registries{client: c, sessions: map[name.Repository]*session{}}
}

// session logs in to the registry of repo, with retries.
func (r *registries) session(ctx context.Context, repo name.Repository) (*session, error) {
	r.mu.Lock()
	s := r.sessions[repo]
	r.mu.Unlock()
	if s != nil {
		return s, nil
	}
	auth, note, err := r.credentials(repo)
	if err != nil {
		return nil, err
	}
	var tr http.RoundTripper
	err = r.client.retry(ctx, repo.Name(), func() (bool, error) {
		tr, err = transport.NewWithContext(ctx, repo.Registry, auth, r.guard(repo, auth), []string{repo.Scope(transport.PullScope)})
		return false, registryError(err)
	})
	if err != nil {
		return nil, refused(err, note) // names the registry: a *url.Error or a *transport.Error
	}
	s = &session{repo: repo, http: &http.Client{Transport: tr, CheckRedirect: r.client.http.CheckRedirect}, note: note}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[repo] = s
	return s, nil
}

// guard returns the transport below the login with auth. Without credentials
// there is nothing to protect, and any registry may issue anonymous tokens, also
// one that another registry redirects to.
func (r *registries) guard(repo name.Repository, auth authn.Authenticator) http.RoundTripper {
	return &realmGuard{registry: repo.RegistryStr(), anonymous: auth == authn.Anonymous, next: r.client.tr}
}

// manifest returns the bytes and the media type of a manifest. If ref has a
// digest, the bytes match it.
func (r *registries) manifest(ctx context.Context, ref name.Reference) (body []byte, mediaType string, err error) {
	s, err := r.session(ctx, ref.Context())
	if err != nil {
		return nil, "", err
	}
	err = r.client.retry(ctx, ref.String(), func() (bool, error) {
		body, mediaType, err = s.manifest(ctx, ref)
		return false, registryError(err)
	})
	return body, mediaType, refused(err, s.note)
}

var acceptManifests = []string{
	ocispec.MediaTypeImageIndex, image.MediaTypeDockerIndex, ocispec.MediaTypeImageManifest, image.MediaTypeDockerManifest,
}

// manifest sends one request. The client of the registry library would read up
// to 100 MiB and has no type for content with a wrong digest.
func (s *session) manifest(ctx context.Context, ref name.Reference) (body []byte, mediaType string, err error) {
	address := fmt.Sprintf("%s://%s/v2/%s/manifests/%s", s.repo.Scheme(), s.repo.RegistryStr(), s.repo.RepositoryStr(), ref.Identifier())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, "", permanent{err}
	}
	req.Header.Set("Accept", strings.Join(acceptManifests, ","))
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return nil, "", pauseError{err, retryAfter(resp)}
	}
	if body, err = io.ReadAll(reader.Limit(resp.Body, image.MaxSize)); errors.Is(err, ErrTooLarge) {
		return nil, "", fmt.Errorf("%w: manifest has more than %d bytes", ErrTooLarge, image.MaxSize)
	}
	if err != nil {
		return nil, "", fmt.Errorf("manifest %s: %w", ref, err)
	}
	if byDigest, ok := ref.(name.Digest); ok {
		want := digest.Digest(byDigest.DigestStr())
		if got := want.Algorithm().FromBytes(body); got != want {
			return nil, "", permanent{&MismatchError{What: "manifest digest", Found: got.String(), Want: want.String()}}
		}
	}
	mediaType, _, _ = strings.Cut(resp.Header.Get("Content-Type"), ";")
	return body, mediaType, nil
}

// blobURL returns the URL of a blob in the distribution API (distribution-spec
// v1.1).
func (s *session) blobURL(d digest.Digest) string {
	return fmt.Sprintf("%s://%s/v2/%s/blobs/%s", s.repo.Scheme(), s.repo.RegistryStr(), s.repo.RepositoryStr(), d)
}

// registryError makes errors of the client permanent.
func registryError(err error) error {
	if answer, ok := errors.AsType[*transport.Error](err); ok && answer.StatusCode < 500 && answer.StatusCode != http.StatusTooManyRequests {
		return permanent{err}
	}
	return err
}

// ResolveImage returns the current digest of the tag of ref. The caller names the image.
func (c *Client) ResolveImage(ctx context.Context, ref ImageRef) (digest.Digest, error) {
	repo, err := c.repository(ref.Repo)
	if err != nil {
		return "", err
	}
	body, mediaType, err := newRegistries(c).manifest(ctx, repo.Tag(ref.Tag))
	if err != nil {
		return "", err
	}
	if t := types.MediaType(mediaType); t == types.DockerManifestSchema1 || t == types.DockerManifestSchema1Signed {
		return "", errors.New("manifest of schema 1, which has no stable digest")
	}
	return digest.FromBytes(body), nil
}

// IsMissing reports whether a registry does not have an image, or does not show it: many
// answer with status 401 or 403 then.
func IsMissing(err error) bool {
	answer, ok := errors.AsType[*transport.Error](err)
	return ok && slices.Contains([]int{http.StatusNotFound, http.StatusUnauthorized, http.StatusForbidden}, answer.StatusCode)
}

// realmGuard does not send the credentials of a registry to foreign hosts: the
// address of the token service comes from the registry's answer, which may be
// hostile (CVE-2026-33540 in distribution).
type realmGuard struct {
	registry  string
	anonymous bool
	next      http.RoundTripper
}

func (g *realmGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	// Tokens for the registry are sent to its host only. The rest are a password
	// for the token service and the form of a refresh token.
	carries := req.Header.Get("Authorization") != "" || req.Method == http.MethodPost
	if carries && !g.anonymous && !sameSite(g.registry, req.URL.Host) {
		return nil, fmt.Errorf("%w: registry %q sends its credentials to %q", errPolicy, g.registry, req.URL.Host)
	}
	if req.Response == nil && req.URL.Host != g.registry {
		req = req.WithContext(context.WithValue(req.Context(), realmHost{}, true))
	}
	return g.next.RoundTrip(req)
}

// tenants are domains whose names belong to different customers but that are no
// public suffixes.
var tenants = []string{"amazonaws.com", "amazonaws.com.cn", "azurecr.io", "azurecr.cn", "azurecr.us", "jfrog.io"}

// sameSite reports whether b may receive the credentials of a: it is the same
// host and port, or a name in the same registered domain ("index.docker.io",
// "auth.docker.io").
func sameSite(a, b string) bool {
	return a == b || site(a) != "" && site(a) == site(b)
}

func site(hostport string) string {
	h := hostport
	if name, _, err := net.SplitHostPort(hostport); err == nil {
		h = name
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(h))
	if err != nil || net.ParseIP(h) != nil || slices.Contains(tenants, domain) {
		return ""
	}
	return domain
}
