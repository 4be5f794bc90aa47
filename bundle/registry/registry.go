// Package registry keeps bundles in an OCI registry.
//
//	PREFIX/bundle:root-<hex>               every member of the tarball, each a layer
//	PREFIX/bundle:latest                   the bundle that was pushed last
//	PREFIX/registry.k8s.io/pause:3.9       the images under their names
//
// Push writes a bundle. Open reads one as the tarball that it was, byte for byte, so that
// its signature and structure are checked as those of a file. The registry is not trusted.
package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/manifests"
)

// Scheme precedes the address of a bundle in a registry, "oci://harbor.example/offk8s".
const Scheme = "oci://"

const (
	// repository is below the prefix.
	repository = "bundle"
	latest     = "latest"
	// annotationMember names the member of the tarball that a layer is.
	annotationMember = "dev.offk8s.member"
	// maxManifest is the largest manifest that common registries accept, in bytes.
	maxManifest = 4 << 20
)

var (
	// ErrAddress means that an address is not that of a place in a registry.
	ErrAddress = errors.New("not an address in a registry")
	// ErrDenied means that the registry wants other credentials, or more rights.
	ErrDenied = errors.New("the registry denies access")
	// ErrCertificate means that no trusted authority issued the registry's certificate.
	ErrCertificate = errors.New("the certificate of the registry is not trusted")
	// ErrReadOnly means that the registry takes no pushes.
	ErrReadOnly = errors.New("the registry is read-only")
	// ErrNoBundle means that a registry answers and has no bundle at an address.
	ErrNoBundle = errors.New("the registry has no such bundle")
	// ErrSmallCache means that a blob is larger than the cache.
	ErrSmallCache = errors.New("the cache is too small")
	// ErrPlainHTTP means that a registry would be used without TLS.
	ErrPlainHTTP = errors.New("the registry answers without TLS")
)

// Options describe how to reach a registry; the zero value has usable defaults.
type Options struct {
	// CA are more authorities (PEM) to trust for TLS.
	CA []byte
	// PlainHTTP allows a registry without TLS that is not on this machine.
	PlainHTTP bool
	// Keychain has the credentials; nil means those of docker and podman.
	Keychain authn.Keychain
	// Jobs is how many requests run at a time; 0 means 4.
	Jobs int
}

// place is a prefix in a registry.
type place struct {
	registry name.Registry
	prefix   string // without slashes at its ends
	root     digest.Digest
}

// parsePlace reads "harbor.example/offk8s" or "oci://127.0.0.1:5000/site/offk8s", with
// "@sha256:…" at the end for the bundle with that root.
func parsePlace(address string, o Options) (place, error) {
	rest, root, hasRoot := strings.Cut(strings.TrimPrefix(address, Scheme), "@")
	host, prefix, ok := strings.Cut(strings.TrimSuffix(rest, "/"), "/")
	bad := func(format string, args ...any) (place, error) {
		return place{}, fmt.Errorf("%w: %q: %s, want the form harbor.example/offk8s", ErrAddress, address, fmt.Sprintf(format, args...))
	}
	if strings.Contains(rest, "://") {
		return bad("no scheme other than %s", Scheme)
	}
	if !ok || host == "" || prefix == "" {
		return bad("no host and prefix")
	}
	var options []name.Option
	if o.PlainHTTP {
		options = append(options, name.Insecure)
	}
	p := place{prefix: prefix}
	if hasRoot {
		if p.root = digest.Digest(root); p.root.Validate() != nil {
			return bad("root %q", root)
		}
	}
	var err error
	if p.registry, err = name.NewRegistry(host, options...); err != nil {
		return bad("%v", err)
	}
	if _, err := name.NewRepository(p.registry.RegistryStr()+"/"+prefix+"/"+repository, options...); err != nil || strings.Contains(prefix, ":") || strings.Contains(prefix, "//") {
		return bad("a prefix has lower case letters, digits and -_./ in it, and no tag")
	}
	return p, nil
}

// bundles returns the repository with the members of bundles.
func (p place) bundles() name.Repository { return p.registry.Repo(p.prefix, repository) }

// tag returns the tag of the bundle to read.
func (p place) tag() string {
	if p.root == "" {
		return latest
	}
	return rootTag(p.root)
}

func rootTag(root digest.Digest) string { return "root-" + root.Encoded() }

// String returns the address without a scheme.
func (p place) String() string { return p.registry.RegistryStr() + "/" + p.prefix }

func (o Options) keychain() authn.Keychain {
	if o.Keychain != nil {
		return o.Keychain
	}
	return authn.DefaultKeychain
}

// transport returns a transport that trusts o.CA too, and refuses plain HTTP unless it
// is allowed or stays on this machine.
func (o Options) transport() (http.RoundTripper, error) {
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.DialContext = (&net.Dialer{Timeout: 15 * time.Second}).DialContext
	tr.ResponseHeaderTimeout = 5 * time.Minute // of the end of a large blob, which the registry hashes
	tr.DisableCompression = true
	tr.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if len(o.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(o.CA) {
			return nil, errors.New("the CA of the registry: no certificate in it")
		}
		tr.TLSClientConfig.RootCAs = pool
	}
	return guard{tr, o.PlainHTTP}, nil
}

// guard refuses requests without TLS to other machines: the library falls back to them
// for private addresses.
type guard struct {
	next  http.RoundTripper
	plain bool
}

func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !g.plain && !loopback(r.URL.Hostname()) {
		return nil, fmt.Errorf("%w: %s", ErrPlainHTTP, r.URL.Host)
	}
	return g.next.RoundTrip(r)
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// stored is the manifest of a bundle: one layer for each member of the tarball, in order.
func stored(layers []ocispec.Descriptor, root digest.Digest, lock *manifests.Lock) ocispec.Manifest {
	m := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: manifests.ArtifactTypeTarball,
		Config: ocispec.DescriptorEmptyJSON, Layers: layers,
		Annotations: map[string]string{
			ocispec.AnnotationTitle: lock.Name, ocispec.AnnotationVersion: lock.Kubernetes,
			ocispec.AnnotationCreated: lock.Created.UTC().Format(time.RFC3339), "dev.offk8s.root": root.String(),
		},
	}
	m.SchemaVersion = 2
	m.Config.Data = nil // old registries have no field for it
	return m
}

// explain returns the cause of ctx if it is done, else err, which wraps ErrDenied if the
// registry wants other credentials, and ErrReadOnly or ErrCertificate. A registry that cannot be
// reached is named once, not for each scheme that was tried.
func explain(ctx context.Context, err error) error {
	answer, ok := errors.AsType[*transport.Error](err)
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case ok && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case ok && answer.StatusCode == http.StatusMethodNotAllowed:
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("%w: %w", ErrCertificate, bad)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return op
	}
	return err
}
