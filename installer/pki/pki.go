// Package pki makes every certificate, key, kubeconfig and token of a cluster
// with cfssl and keeps them in the operator's state folder.
//
// Credentials says, from the Cluster alone, which certificates there are; a
// Store issues them on demand and hands them out by reference ("pki:…",
// "kubeconfig:…", "token:…", "secret:…"), so that plans and logs hold names and
// never contents. There are three authorities, kept apart so that a client of
// one is a stranger to the others: kubernetes, etcd and front-proxy.
//
// A certificate is reused while it says what is wanted and has more than
// RenewBefore left; anything else is issued anew. Everything is backdated by
// Backdate, because a host's clock may be wrong until the time phase is over.
//
// The package is the only importer of cfssl. It talks to no host.
package pki

import (
	"errors"
	"time"
)

// Lifetimes.
const (
	CALifetime   = 10 * 365 * 24 * time.Hour
	LeafLifetime = 365 * 24 * time.Hour
	Backdate     = 24 * time.Hour
	// RenewBefore is how much a leaf must have left to be reused.
	RenewBefore = 30 * 24 * time.Hour
	// TokenLifetime is how long a bootstrap token is good for.
	TokenLifetime = time.Hour
)

// ErrUnknownRef is wrapped by Store.Resolve for a reference that names nothing.
var ErrUnknownRef = errors.New("unknown reference")

// The references that Resolve knows; the first three take a name.
const (
	refPKI        = "pki:"
	refKubeconfig = "kubeconfig:"

	// RefToken is the bootstrap token, "id.secret".
	RefToken = "token:bootstrap"
	// RefEncryption is the API server's EncryptionConfiguration.
	RefEncryption = "secret:encryption-config"
	// RefBootstrapKubeconfig is the kubeconfig that a kubelet joins with.
	RefBootstrapKubeconfig = "kubeconfig:bootstrap"
	// RefServiceAccountKey and RefServiceAccountPub are the key pair of service account tokens.
	RefServiceAccountKey = "pki:service-account.key"
	RefServiceAccountPub = "pki:service-account.pub"
)

// CertRef is the reference of a credential's certificate.
func CertRef(name string) string { return refPKI + name + ".crt" }

// KeyRef is the reference of a credential's private key.
func KeyRef(name string) string { return refPKI + name + ".key" }

// CARef is the reference of an authority's certificate.
func CARef(ca CA) string { return refPKI + caName(ca) + ".crt" }

// CAKeyRef is the reference of an authority's private key.
func CAKeyRef(ca CA) string { return refPKI + caName(ca) + ".key" }

// KubeconfigRef is the reference of a credential as a kubeconfig.
func KubeconfigRef(name string) string { return refKubeconfig + name }

func caName(ca CA) string { return string(ca) + "-ca" }
