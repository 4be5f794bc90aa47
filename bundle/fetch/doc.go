// Package fetch downloads the artifacts of a Lock into the content store.
//
// A [Client] is the HTTP layer for everything: it applies proxies, rewrites of
// upstream addresses, timeouts, retries and limits. The fetchers use it, one
// type in one file for each artifact kind, listed in [Fetchers]. Each must pass
// the suite in run_test.go.
//
// Nothing is trusted before its digest is verified. A body is hashed while it is
// read into the store's directory for partial downloads, and moves on only if
// digest and size match the Lock. An artifact without a known digest (first use)
// is downloaded when the Lock is made, which then records the digest.
//
// The package does not decide which artifacts are in a bundle (see
// bundle.Resolve) and never writes to a path that an upstream chose.
package fetch
