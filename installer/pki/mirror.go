package pki

import (
	"crypto/tls"
	"fmt"
	"time"

	"github.com/offk8s/offk8s/bundle/trust"
)

// MirrorTLS is what a mirror serves with.
type MirrorTLS struct {
	CA          []byte // PEM, for clients
	Certificate tls.Certificate
	// Fingerprint is "sha256:<hex>" of the CA certificate's DER, as cluster.yaml
	// pins it.
	Fingerprint string
	// Issued says why the serving certificate is new; empty when it was reused.
	Issued string
}

// MirrorCA opens or makes, in dir (0700), an authority for the mirror alone and
// a serving certificate for the given names and addresses. Calling it again
// gives the same authority; the serving certificate is issued anew when hosts
// changed or it has less than RenewBefore left.
func MirrorCA(dir string, hosts []string, now time.Time) (MirrorTLS, error) {
	if err := makeDir(dir); err != nil {
		return MirrorTLS{}, err
	}
	ca, err := openCA(dir, "mirror-ca", "offk8s mirror CA", now)
	if err != nil {
		return MirrorTLS{}, err
	}
	c := Credential{Name: "mirror", CommonName: "offk8s mirror", Usage: Server}
	c.DNS, c.IPs = split(hosts)
	p, why, err := openLeaf(dir, ca, c, now)
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
