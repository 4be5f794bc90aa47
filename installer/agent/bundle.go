package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Bounds of what is read from a mirror before it is verified, in bytes.
const (
	maxIndex    = 8 << 20
	maxDocument = 64 << 20
)

// headDir keeps the documents of the bundle; they are verified at every use.
const headDir = StateDir + "/bundle"

// content is a verified bundle as the mirror serves it.
type content struct {
	lock   *manifests.Lock
	root   digest.Digest
	client *http.Client
	base   *url.URL
	files  map[digest.Digest]manifests.Artifact // by plain digest
}

// openContent verifies the bundle from its signature down to the Lock.
func openContent(ctx context.Context, env *step.Env, b Bundle, m Mirror) (*content, error) {
	keys, err := trust.ParsePublicKeys([]byte(b.PublicKeys))
	if err != nil {
		return nil, fmt.Errorf("%w: bundle key: %w", ErrPolicy, err)
	}
	c := &content{files: map[digest.Digest]manifests.Artifact{}}
	if c.base, err = url.Parse(m.URL); err != nil || c.base.Host == "" {
		return nil, fmt.Errorf("%w: mirror %q: not a URL", ErrRequest, m.URL)
	}
	if c.client, err = newClient(m); err != nil {
		return nil, err
	}
	index, err := c.verifiedIndex(ctx, env, b.Root, keys)
	if err != nil {
		return nil, err
	}
	if c.lock, err = c.readLock(ctx, env, index); err != nil {
		return nil, err
	}
	for _, a := range c.lock.Artifacts {
		if a.Kind != manifests.KindFile {
			continue
		}
		if a.Plain.Digest == "" {
			a.Plain = a.Blob
		}
		c.files[a.Plain.Digest] = a
	}
	return c, nil
}

// newClient trusts m.CAPEM only, and no proxy of the environment (T-50).
func newClient(m Mirror) (*http.Client, error) {
	pool := x509.NewCertPool()
	if m.CAPEM != "" && !pool.AppendCertsFromPEM([]byte(m.CAPEM)) {
		return nil, fmt.Errorf("%w: mirror CA: no certificate in it", ErrRequest)
	}
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
			DialContext:           (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
			TLSHandshakeTimeout:   15 * time.Second,
			ResponseHeaderTimeout: time.Minute,
			DisableCompression:    true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the mirror sends no redirects")
		},
	}, nil
}

// get opens a path of the mirror.
func (c *content) get(ctx context.Context, path string) (io.ReadCloser, error) {
	u := *c.base
	u.Path = strings.TrimSuffix(u.Path, "/") + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("mirror: %w", explainTime(err))
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("mirror: %s: %s", u.String(), resp.Status), resp.Body.Close())
	}
	return resp.Body, nil
}

// explainTime says what a certificate that is not valid (yet) usually means on
// a machine that has just been installed.
func explainTime(err error) error {
	var bad x509.CertificateInvalidError
	if errors.As(err, &bad) && bad.Reason == x509.Expired {
		return fmt.Errorf("%w; this host's clock says %s, is that right?", err, time.Now().UTC().Format(time.RFC3339))
	}
	return err
}

func (c *content) read(ctx context.Context, path string, limit int64) ([]byte, error) {
	r, err := c.get(ctx, path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("mirror: %q: %w", path, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("mirror: %q: %w: more than %d bytes", path, ErrVerify, limit)
	}
	return b, nil
}

// verifiedIndex returns index.json when its signature and digest are right,
// from this host's copy or else from the mirror.
func (c *content) verifiedIndex(ctx context.Context, env *step.Env, root digest.Digest, keys []trust.PublicKey) ([]byte, error) {
	index, errI := env.ReadFile(headDir + "/index.json")
	sig, errS := env.ReadFile(headDir + "/index.json.sig")
	if errI == nil && errS == nil && checkIndex(index, sig, root, keys) == nil {
		c.root = digest.FromBytes(index)
		return index, nil
	}
	index, err := c.read(ctx, "/bundle/index.json", maxIndex)
	if err != nil {
		return nil, err
	}
	if sig, err = c.read(ctx, "/bundle/index.json.sig", 4096); err != nil {
		return nil, err
	}
	if err := checkIndex(index, sig, root, keys); err != nil {
		return nil, err
	}
	c.root = digest.FromBytes(index)
	if err := c.keep(env, "index.json", index); err != nil {
		return nil, err
	}
	return index, c.keep(env, "index.json.sig", sig)
}

func checkIndex(index, sig []byte, root digest.Digest, keys []trust.PublicKey) error {
	if _, err := trust.VerifyIndex(index, sig, keys); err != nil {
		class := ErrVerify
		if errors.Is(err, trust.ErrUnsigned) || errors.Is(err, trust.ErrNoKey) {
			class = ErrPolicy
		}
		return fmt.Errorf("bundle on the mirror: %w: %w", class, err)
	}
	if got := digest.FromBytes(index); root != "" && got != root {
		return fmt.Errorf("%w: the mirror serves the bundle %s, the operator wants %s", ErrVerify, got, root)
	}
	return nil
}

// readLock follows index.json → nested index → bundle artifact → Lock.
func (c *content) readLock(ctx context.Context, env *step.Env, index []byte) (*manifests.Lock, error) {
	var root, nested ocispec.Index
	var artifact ocispec.Manifest
	if err := decode("index.json", index, &root); err != nil {
		return nil, err
	}
	d, err := pick(root.Manifests, manifests.ArtifactTypeContent)
	if err == nil {
		err = c.document(ctx, env, d, &nested)
	}
	if err == nil {
		d, err = pick(nested.Manifests, manifests.ArtifactTypeBundle)
	}
	if err == nil {
		err = c.document(ctx, env, d, &artifact)
	}
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(artifact.Layers, func(l ocispec.Descriptor) bool { return l.MediaType == manifests.MediaTypeLock })
	if i < 0 {
		return nil, fmt.Errorf("%w: the bundle has no Lock", ErrVerify)
	}
	b, err := c.blob(ctx, env, artifact.Layers[i])
	if err != nil {
		return nil, err
	}
	lock, err := manifests.LoadSealedLock(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrVerify, err)
	}
	return lock, nil
}

func pick(list []ocispec.Descriptor, artifactType string) (ocispec.Descriptor, error) {
	for _, d := range list {
		if d.ArtifactType == artifactType {
			return d, nil
		}
	}
	return ocispec.Descriptor{}, fmt.Errorf("%w: the bundle has no %s", ErrVerify, artifactType)
}

func (c *content) document(ctx context.Context, env *step.Env, d ocispec.Descriptor, v any) error {
	b, err := c.blob(ctx, env, d)
	if err != nil {
		return err
	}
	return decode(d.Digest.String(), b, v)
}

func decode(what string, b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrVerify, what, err)
	}
	return nil
}

// blob returns a small blob, from this host's copy or from the mirror, verified.
func (c *content) blob(ctx context.Context, env *step.Env, d ocispec.Descriptor) ([]byte, error) {
	if err := d.Digest.Validate(); err != nil || d.Size < 0 || d.Size > maxDocument {
		return nil, fmt.Errorf("%w: descriptor %s of %d bytes", ErrVerify, d.Digest, d.Size)
	}
	name := d.Digest.Algorithm().String() + "-" + d.Digest.Encoded()
	if b, err := env.ReadFile(headDir + "/" + name); err == nil && sameBlob(b, d) {
		return b, nil
	}
	path := "/bundle/blobs/" + d.Digest.Algorithm().String() + "/" + d.Digest.Encoded()
	b, err := c.read(ctx, path, d.Size)
	if err != nil {
		return nil, err
	}
	if !sameBlob(b, d) {
		return nil, fmt.Errorf("%w: the mirror's %s is not what was signed", ErrVerify, d.Digest)
	}
	return b, c.keep(env, name, b)
}

func sameBlob(b []byte, d ocispec.Descriptor) bool {
	return int64(len(b)) == d.Size && d.Digest.Algorithm().FromBytes(b) == d.Digest
}
