// Package fetch takes the artifacts of a Lock from their upstreams into the
// content store.
//
// A [Client] is the one HTTP layer: proxies of the environment, rewrites of
// upstream addresses, timeouts, retries, caps. On it stand the fetchers, one
// file and one type per artifact kind, listed in [Fetchers]. Each must pass the
// suite of package fetchtest.
//
// Nothing is trusted before its digest is right: a body is hashed while it
// passes, lands in the store's partial folder first, and moves on only when
// digest and size are those of the Lock. A first use (no digest known) is
// downloaded when the Lock is made, which records what was found.
//
// The package decides nothing about what a bundle holds (bundle.Resolve does)
// and never writes a path that an upstream chose.
package fetch
