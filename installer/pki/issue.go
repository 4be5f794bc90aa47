package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudflare/cfssl/config"
	"github.com/cloudflare/cfssl/csr"
	"github.com/cloudflare/cfssl/initca"
	cflog "github.com/cloudflare/cfssl/log"
	"github.com/cloudflare/cfssl/signer"
	"github.com/cloudflare/cfssl/signer/local"

	"github.com/offk8s/offk8s/bundle/trust"
)

// cfssl logs its progress through a package variable, which would mix with ours.
func init() { cflog.Level = cflog.LevelCritical }

// pair is a certificate and its key, both PEM.
type pair struct {
	cert []byte
	key  trust.Secret
}

// Format redacts the key: fmt does not call methods of unexported fields.
func (p pair) Format(s fmt.State, verb rune) { p.key.Format(s, verb) }

// newCA creates a self-signed authority that can sign only leaves.
func newCA(commonName string) (pair, error) {
	req := &csr.CertificateRequest{
		CN:         commonName,
		KeyRequest: csr.NewKeyRequest(),
		CA:         &csr.CAConfig{Expiry: caLifetime.String(), Backdate: backdate.String(), PathLenZero: true},
	}
	cert, _, key, err := initca.New(req)
	if err != nil {
		return pair{}, fmt.Errorf("create authority %q: %w", commonName, err)
	}
	return pair{cert: cert, key: key}, nil
}

// newKey creates a key pair without a certificate, both PEM.
func newKey() (priv trust.Secret, pub []byte, err error) {
	k, err := csr.NewKeyRequest().Generate()
	if err != nil {
		return nil, nil, fmt.Errorf("create key: %w", err)
	}
	ec, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("create key: got a %T", k)
	}
	der, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	spki, err := x509.MarshalPKIXPublicKey(ec.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}), nil
}

// issue creates the certificate c with a new key, signed by ca.
func issue(ca pair, c credential, now time.Time) (pair, error) {
	caCert, caKey, err := parsePair(ca)
	if err != nil {
		return pair{}, fmt.Errorf("authority of %q: %w", c.Name, err)
	}
	req := &csr.CertificateRequest{CN: c.CommonName, KeyRequest: csr.NewKeyRequest(), Hosts: slices.Concat(c.DNS, c.IPs)}
	for _, o := range c.Organizations {
		req.Names = append(req.Names, csr.Name{O: o})
	}
	g := &csr.Generator{Validator: func(*csr.CertificateRequest) error { return nil }}
	csrPEM, key, err := g.ProcessRequest(req)
	if err != nil {
		return pair{}, fmt.Errorf("request certificate %q: %w", c.Name, err)
	}
	s, err := local.NewSigner(caKey, caCert, signer.DefaultSigAlgo(caKey), policy(c.Usage))
	if err != nil {
		return pair{}, fmt.Errorf("sign certificate %q: %w", c.Name, err)
	}
	notAfter := now.Add(leafLifetime)
	if notAfter.After(caCert.NotAfter) {
		notAfter = caCert.NotAfter
	}
	cert, err := s.Sign(signer.SignRequest{
		Request: string(csrPEM), NotBefore: now.Add(-backdate).UTC(), NotAfter: notAfter.UTC(),
	})
	if err != nil {
		return pair{}, fmt.Errorf("sign certificate %q: %w", c.Name, err)
	}
	return pair{cert: cert, key: key}, nil
}

func policy(u usage) *config.Signing {
	usages := []string{"digital signature", "key encipherment"}
	if u != usageClient {
		usages = append(usages, "server auth")
	}
	if u != usageServer {
		usages = append(usages, "client auth")
	}
	return &config.Signing{
		Profiles: map[string]*config.SigningProfile{},
		Default: &config.SigningProfile{
			Usage: usages, Expiry: leafLifetime, ExpiryString: leafLifetime.String(), Backdate: backdate,
		},
	}
}

// parsePair parses a pair and checks that key and certificate match.
func parsePair(p pair) (*x509.Certificate, crypto.Signer, error) {
	kp, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate and key: %w", err)
	}
	s, ok := kp.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, errors.New("certificate and key: the key cannot sign")
	}
	return kp.Leaf, s, nil
}

// stale returns the reason why p must be issued again for c, "" if there is none.
func stale(ca, p pair, c credential, now time.Time) string {
	cert, _, err := parsePair(p)
	if err != nil {
		return "it is damaged"
	}
	caCert, _, err := parsePair(ca)
	if err != nil || cert.CheckSignatureFrom(caCert) != nil || !bytes.Equal(cert.RawIssuer, caCert.RawSubject) {
		return "another authority signed it"
	}
	if left := cert.NotAfter.Sub(now); left < renewBefore && !cert.NotAfter.Equal(caCert.NotAfter) {
		return fmt.Sprintf("it expires on %s", cert.NotAfter.Format(time.DateOnly))
	}
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return "it is not valid at this time"
	}
	return changed(cert, c)
}

// changed returns the first difference of cert from c, "" if there is none.
func changed(cert *x509.Certificate, c credential) string {
	var ips []string
	for _, ip := range cert.IPAddresses {
		ips = append(ips, ip.String())
	}
	same := func(a, b []string) bool {
		a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
		return slices.Equal(a, b)
	}
	want := []x509.ExtKeyUsage{}
	if c.Usage != usageClient {
		want = append(want, x509.ExtKeyUsageServerAuth)
	}
	if c.Usage != usageServer {
		want = append(want, x509.ExtKeyUsageClientAuth)
	}
	switch {
	case cert.Subject.CommonName != c.CommonName || !same(cert.Subject.Organization, c.Organizations):
		return "its subject changed"
	case !same(cert.DNSNames, c.DNS) || !same(ips, c.IPs):
		return "its names or addresses changed"
	case !slices.Equal(cert.ExtKeyUsage, want):
		return "its usage changed"
	}
	return ""
}
