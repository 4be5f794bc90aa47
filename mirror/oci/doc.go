// Package oci is a read-only registry over the images of bundles: the pull
// half of distribution-spec v1.1. No code path writes; uploads, deletions and
// everything else that is not GET or HEAD answer 405 UNSUPPORTED.
//
// An image is found under three spellings, since clients differ in what they
// send to a mirror:
//
//	/v2/registry.k8s.io/pause/manifests/3.10     the full name
//	/v2/pause/manifests/3.10?ns=registry.k8s.io  containerd 1.5 and later
//	/v2/pause/manifests/3.10                     older ones; only while one image has that name
//
// Manifests and indexes are read and checked once, when the Handler is made,
// and answered from memory, byte for byte as packed. Layers and configs are
// sent from where they lie.
package oci
