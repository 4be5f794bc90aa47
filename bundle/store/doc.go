// Package store is the content-addressed cache of pack. Every blob lies under
// its digest, is verified while it is written, and is there as a whole or not
// at all, whatever the moment of a crash.
//
//	s, err := store.Open(dir)
//	defer s.Close()
//	err = s.Put(ctx, want, response.Body)
//	f, err := s.Get(want.Digest)
//
// Layout, below dir:
//
//	lock                      held while the store is open; names who holds it
//	blobs/<algorithm>/<hex>   content, mode 0444
//	partial/<algorithm>-<hex> unfinished downloads, kept for resuming
//	tmp/                      files being written; emptied by Open
//
// A blob is written to tmp, hashed on the way, synced and renamed, and its
// folder is synced. Blobs are never changed. Bit rot is noticed by whoever
// reads through Open or calls Verify, not by Has.
//
// The store knows neither upstreams nor bundles, and it keeps no index: what a
// digest is for is known to the Lock.
package store
