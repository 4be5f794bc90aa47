// Package mirror serves open bundles over HTTP: files, yum and apt repositories
// and an OCI registry, straight from the tar by offset. It unpacks and writes
// nothing, and no request leaves the machine: the package has no network client.
//
// New builds a map from exact URL paths to blobs; a request is a look-up in it
// and never a path of the file system. Server runs a Mirror on listeners, with the
// limits that a machine between two networks needs. Each blob is hashed before it is
// first sent, again after a bundle file changed, and by Mirror.Scrub in the
// background; requests for a damaged one get status 500.
//
//	/v2/…                            the registry (mirror/oci)
//	/files/…, /yum/…, /apt/…         /<group>/<path> of every file of the bundle
//	/bundle/index.json, …            the bundle itself, for agents and for verify
//	/install.sh, /config/…, /ca.crt  configuration for a new host
//
// Clients need not trust the mirror: they check digests against the signed
// bundle (agents), or signatures made when the bundle was packed (dnf, apt).
package mirror
