// Package oci is a read-only registry over the images of bundles: the pull
// half of distribution-spec v1.1. Uploads, deletions and all other requests that
// are not GET or HEAD get status 405, UNSUPPORTED.
//
// An image has three paths, because clients differ in the name that they send to
// a mirror:
//
//	/v2/registry.k8s.io/pause/manifests/3.10     the full name
//	/v2/pause/manifests/3.10?ns=registry.k8s.io  containerd 1.5 and later
//	/v2/pause/manifests/3.10                     older clients, if only one image has that name
//
// Helm charts have one path, /v2/charts/<name>.
//
// New reads and verifies manifests and indexes once; they are sent from memory,
// byte for byte as packed. Layers and configs are sent from the bundle.
package oci
