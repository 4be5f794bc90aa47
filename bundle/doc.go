// Package bundle resolves a Manifest into a Lock, packs a Lock into a Bundle,
// and reads bundles: Resolve, Pack, Seal, Open, Verify, Inspect. The mirror and
// the installer use the read side; the write side is the only code of offk8s
// that connects to upstreams.
//
// A Bundle is an OCI image layout in a tar file, specified in README.md of this
// directory. The signature covers index.json, which leads to every other blob by
// digest and size. Open checks the signature, the structure of the tar and that
// its members are exactly those that index.json reaches; Verify hashes all of
// them. Neither writes anything.
//
// If a check compares a bundle with earlier ones, as for the highest sequence of
// a name, the caller keeps the state: Config has the numbers to compare.
package bundle
