// Package catalog holds the knowledge of upstream that is built into offk8s:
// releases of Kubernetes, pod networks and operating systems with their
// versions, URLs, digests, flags and keys.
//
// The data lies beside the code in kubernetes, cni, distro, dns and keys;
// manifests/README.md describes it. Embedded returns it, and Catalog.Overlay
// merges a directory of the same shape over it. Version differences are data
// here, never code elsewhere.
package catalog
