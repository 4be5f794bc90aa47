// Package manifests is the data model of offk8s and its embedded catalog.
//
// Three documents a person meets, one direction of flow:
//
//	Manifest (wanted) ──resolve──▶ Lock (exact) ──pack──▶ Bundle
//	Cluster  (hosts)  ──plan────▶ Plan
//
// A Manifest says what a bundle shall hold, a Lock lists every artifact of it
// with its digest, a Cluster says which host plays which role. The catalog
// (Release, CNI, Distro) is what offk8s knows of upstream: versions, URLs,
// digests, flags. Version differences are data in the catalog, never code.
//
// Reading: LoadManifest and LoadCluster (YAML, every problem with its line),
// LoadLock and LoadSealedLock (strict JSON), Embedded and Catalog.Overlay (the
// catalog). README.md beside this file says what a catalog entry holds.
//
// The package does no I/O beyond the files it is given and its own embedded
// ones; it knows no upstream, no bundle format and no host.
package manifests
