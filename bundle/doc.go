// Package bundle turns a Manifest into a Lock and a Lock into a Bundle, and
// reads bundles back: Resolve, Pack, Seal, Open, Verify, Inspect. Its read side
// is all that mirror and installer know of it; the write side is the only code
// of offk8s that talks to upstreams.
//
// A Bundle is an OCI image layout in one tar file, specified in README.md of
// this folder. index.json names every other blob by digest and size and is
// what the signature covers:
//
//	key, err := trust.ParsePublicKeys(pem)
//	b, err := bundle.Open(ctx, []string{"b.tar"}, bundle.OpenOptions{Keys: key})
//	defer b.Close()
//	err = b.Verify(ctx, bundle.VerifyOptions{})
//
// Open checks the signature, the structure of the tar and that exactly the
// members named in it are there; Verify hashes them all. Neither writes
// anything. What needs memory between runs (the highest sequence seen of a
// name) is left to the callers: Config carries the numbers.
package bundle
