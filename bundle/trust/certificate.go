package trust

import (
	"encoding/pem"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Fingerprint returns "sha256:<hex>" of the DER of the first certificate in
// certPEM: the form in which cluster.yaml pins the CA of a mirror.
func Fingerprint(certPEM []byte) (string, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil || block.Type != "CERTIFICATE" {
		return "", fmt.Errorf("fingerprint: no certificate in %d bytes of PEM", len(certPEM))
	}
	return digest.FromBytes(block.Bytes).String(), nil
}
