package pki

import (
	"crypto/tls"
	"fmt"
	"time"

	"github.com/offk8s/offk8s/bundle/trust"
)

// MirrorTLS is the TLS configuration of a mirror.
type MirrorTLS struct {
	CA          []byte // PEM, for clients
	Certificate tls.Certificate
	// Fingerprint is "sha256:<hex>" of the CA certificate's DER, for cluster.yaml.
	Fingerprint string
	// Issued is the reason why the serving certificate is new; empty if it was reused.
	Issued string
}

// MirrorCA opens or creates, in dir (mode 0700), an authority for the mirror alone
// and a serving certificate for the given names and addresses. The authority stays
// the same; the serving certificate is issued again if hosts has changed or if it is
// valid for less than 30 days.
func MirrorCA(dir string, hosts []string, now time.Time) (MirrorTLS, error) {
	d, err := openDir(dir, false)
	if err != nil {
		return MirrorTLS{}, err
	}
	defer d.alone()()
	ca, err := openCA(d, "mirror-ca", "offk8s mirror CA", now)
	if err != nil {
		return MirrorTLS{}, err
	}
	c := credential{Name: "mirror", CommonName: "offk8s mirror", Usage: usageServer}
	c.DNS, c.IPs = split(hosts)
	p, why, err := openLeaf(d, ca, c, now)
	if err != nil {
		return MirrorTLS{}, err
	}
	kp, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		return MirrorTLS{}, fmt.Errorf("mirror certificate: %w", err)
	}
	fp, err := trust.Fingerprint(ca.cert)
	if err != nil {
		return MirrorTLS{}, err
	}
	return MirrorTLS{CA: ca.cert, Certificate: kp, Fingerprint: fp, Issued: why}, nil
}
