package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/reader"
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

// Content is a verified bundle as a mirror serves it.
type Content struct {
	Lock *manifests.Lock
	Root digest.Digest // of index.json
	// OpenPGPKey is the armoured key of the repository metadata.
	OpenPGPKey []byte

	client *http.Client
	base   *url.URL
	env    *step.Env                            // for copies on this host; nil: none
	files  map[digest.Digest]manifests.Artifact // by plain digest
}

// OpenMirror verifies the bundle of a mirror from its signature down to the
// Lock. With an empty Bundle.Root any bundle that the keys signed will do.
// Errors are ErrVerify and ErrPolicy, or of the network.
func OpenMirror(ctx context.Context, b Bundle, m Mirror) (*Content, error) {
	return openContent(ctx, nil, b, m)
}

func openContent(ctx context.Context, env *step.Env, b Bundle, m Mirror) (*Content, error) {
	keys, err := trust.ParsePublicKeys([]byte(b.PublicKeys))
	if err != nil {
		return nil, fmt.Errorf("%w: bundle key: %w", ErrPolicy, err)
	}
	c := &Content{env: env, files: map[digest.Digest]manifests.Artifact{}}
	if c.base, err = url.Parse(m.URL); err != nil || c.base.Host == "" {
		return nil, fmt.Errorf("%w: mirror %q: not a URL", ErrRequest, m.URL)
	}
	if c.client, err = newClient(m); err != nil {
		return nil, err
	}
	index, err := c.verifiedIndex(ctx, b.Root, keys)
	if err != nil {
		return nil, err
	}
	var readErr error // may be the network's, unlike the other errors of ReadLock
	c.Lock, c.OpenPGPKey, err = bundle.ReadLock(index, func(d ocispec.Descriptor) (b []byte, err error) {
		b, readErr = c.blob(ctx, d)
		return b, readErr
	})
	if readErr != nil {
		return nil, readErr
	}
	if err != nil {
		return nil, fmt.Errorf("%w: bundle on the mirror: %w", ErrVerify, err)
	}
	for _, a := range c.Lock.Artifacts {
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

// newClient trusts m.CAPEM only, or the system's authorities when there is
// none, and takes no proxy from the environment (T-50).
func newClient(m Mirror) (*http.Client, error) {
	var pool *x509.CertPool
	if m.CAPEM != "" {
		pool = x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(m.CAPEM)) {
			return nil, fmt.Errorf("%w: mirror CA: no certificate in it", ErrRequest)
		}
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
func (c *Content) get(ctx context.Context, path string) (io.ReadCloser, error) {
	return c.send(ctx, http.MethodGet, path)
}

func (c *Content) send(ctx context.Context, method, path string) (io.ReadCloser, error) {
	rel, err := url.Parse(path)
	if err != nil {
		return nil, err
	}
	u := *c.base
	u.Path, u.RawQuery = strings.TrimSuffix(u.Path, "/")+rel.Path, rel.RawQuery
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
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

func (c *Content) read(ctx context.Context, path string, limit int64) ([]byte, error) {
	r, err := c.get(ctx, path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(reader.Limit(r, limit))
	if errors.Is(err, reader.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", ErrVerify, err)
	}
	if err != nil {
		return nil, fmt.Errorf("mirror: %q: %w", path, err)
	}
	return b, nil
}

// verifiedIndex returns index.json when its signature and digest are right,
// from this host's copy or else from the mirror.
func (c *Content) verifiedIndex(ctx context.Context, root digest.Digest, keys []trust.PublicKey) ([]byte, error) {
	index, errI := c.kept("index.json")
	sig, errS := c.kept("index.json.sig")
	if errI == nil && errS == nil && checkIndex(index, sig, root, keys) == nil {
		c.Root = digest.FromBytes(index)
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
	c.Root = digest.FromBytes(index)
	if err := c.keep("index.json", index); err != nil {
		return nil, err
	}
	return index, c.keep("index.json.sig", sig)
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

// blob returns a small blob, from this host's copy or from the mirror, verified.
func (c *Content) blob(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	if err := d.Digest.Validate(); err != nil || d.Size < 0 || d.Size > maxDocument {
		return nil, fmt.Errorf("%w: descriptor %s of %d bytes", ErrVerify, d.Digest, d.Size)
	}
	name := d.Digest.Algorithm().String() + "-" + d.Digest.Encoded()
	if b, err := c.kept(name); err == nil && reader.VerifyBytes(b, d.Digest, d.Size) == nil {
		return b, nil
	}
	path := "/bundle/blobs/" + d.Digest.Algorithm().String() + "/" + d.Digest.Encoded()
	b, err := c.read(ctx, path, d.Size)
	if err != nil {
		return nil, err
	}
	if err := reader.VerifyBytes(b, d.Digest, d.Size); err != nil {
		return nil, fmt.Errorf("mirror: %q: %w: %w", path, ErrVerify, err)
	}
	return b, c.keep(name, b)
}
