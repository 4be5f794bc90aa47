// Package manifests is the data model of offk8s.
//
// There are three documents, and one direction of flow:
//
//	Manifest (wanted) ──resolve──▶ Lock (exact) ──pack──▶ Bundle
//	Cluster  (hosts)  ──plan────▶ Plan
//
// A Manifest describes the bundle to pack, a Lock lists every artifact of a
// bundle with its digest, a Cluster assigns roles to hosts. Package
// catalog, below, holds the releases, pod networks and distributions.
//
// LoadManifest and LoadCluster read YAML and report every problem with its
// line; LoadLock and LoadSealedLock read strict JSON.
//
// The package does no I/O, and depends on no upstream, bundle format or host.
package manifests
