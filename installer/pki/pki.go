// Package pki issues every certificate, key, kubeconfig and token of a cluster with
// cfssl and stores them in the operator's state directory.
//
//	c, err := pki.Open(pki.Options{Dir: dir, Cluster: cluster})
//	secret, err := c.Resolve(pki.CertRef(pki.Name("apiserver", host)))
//
// The certificates follow from the Cluster alone. Credentials issues them on demand
// and returns them by reference ("pki:…", "kubeconfig:…", "token:…", "secret:…"), so
// that plans and logs contain names instead of secrets. There are three authorities,
// kubernetes, etcd and front-proxy, so that a client certificate of one is not valid
// for the others.
//
// A certificate is reused if its contents are still right and it is valid for at
// least 30 more days; otherwise it is issued again. Certificates are backdated by a
// day, because a host's clock may be wrong until the time stage.
//
// The package is the only importer of cfssl. It does not connect to hosts.
package pki

import (
	"errors"
	"time"
)

// Lifetimes.
const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	leafLifetime = 365 * 24 * time.Hour
	backdate     = 24 * time.Hour
	// renewBefore is the least remaining time of a leaf that is reused.
	renewBefore = 30 * 24 * time.Hour
	// TokenLifetime is the time for which a bootstrap token is valid.
	TokenLifetime = time.Hour
)

// errUnknownRef means that a reference names nothing.
var errUnknownRef = errors.New("unknown reference")

// The references of Credentials.Resolve; refPKI and refKubeconfig take a name.
const (
	refPKI        = "pki:"
	refKubeconfig = "kubeconfig:"

	// RefToken is the bootstrap token, "id.secret".
	RefToken = "token:bootstrap"
	// RefEncryption is the API server's EncryptionConfiguration.
	RefEncryption = "secret:encryption-config"
	// RefVRRP is the block of keepalived.conf with the password of the balancers.
	RefVRRP = "secret:vrrp"
	// RefBootstrapKubeconfig is the kubeconfig with which a kubelet joins.
	RefBootstrapKubeconfig = "kubeconfig:bootstrap"
	// RefServiceAccountKey and RefServiceAccountPub are the key pair of service account tokens.
	RefServiceAccountKey = "pki:service-account.key"
	RefServiceAccountPub = "pki:service-account.pub"
)

// CertRef returns the reference of a credential's certificate.
func CertRef(name string) string { return refPKI + name + ".crt" }

// KeyRef returns the reference of a credential's private key.
func KeyRef(name string) string { return refPKI + name + ".key" }

// PEMRef returns the reference of a credential's certificate and key in one file.
func PEMRef(name string) string { return refPKI + name + ".pem" }

// CARef returns the reference of an authority's certificate.
func CARef(ca CA) string { return refPKI + caName(ca) + ".crt" }

// CAKeyRef returns the reference of an authority's private key.
func CAKeyRef(ca CA) string { return refPKI + caName(ca) + ".key" }

// KubeconfigRef returns the reference of a credential as a kubeconfig.
func KubeconfigRef(name string) string { return refKubeconfig + name }

func caName(ca CA) string { return string(ca) + "-ca" }
