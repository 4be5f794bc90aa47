// Package store is the content-addressed cache of pack. Every blob is stored
// under its digest, is verified while it is written, and after a crash is there
// as a whole or not at all.
//
//	s, err := store.Open(dir)
//	defer s.Close()
//	err = s.Put(ctx, want, response.Body)
//	f, err := s.Get(want.Digest)
//
// Layout, below dir:
//
//	lock                      held while the store is open; names the process
//	blobs/<algorithm>/<hex>   content, mode 0444
//	partial/<algorithm>-<hex> unfinished downloads, kept for resuming
//	tmp/                      files being written; emptied by Open
//
// A blob is written to tmp, hashed on the way, synced and renamed; Close syncs the
// directories. Blobs are never changed. Verify finds bit rot; Open
// notices a wrong size; Has looks at the name only.
//
// The store knows neither upstreams nor bundles, and it keeps no index: the Lock
// maps artifacts to digests.
package store
