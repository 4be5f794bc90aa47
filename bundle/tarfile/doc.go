// Package tarfile is the tar container of a bundle: a deterministic writer and
// an offset index that serves any member by (offset, size) without unpacking.
//
// The container is a small, exactly determined subset of POSIX tar: regular
// files only, mode 0644, owner 0, time 0, canonical relative names, zero
// padding, and a trailer of exactly two zero blocks. What does not fit a ustar
// header (a size of 8 GiB or more, a name over 100 bytes) goes into one pax
// extended header of fixed shape; a comment of spaces in it makes the content of
// members of 64 KiB and more begin at a multiple of 4096 bytes, so that file systems
// can share it with other files. The index re-encodes every header it reads
// and compares, so each bit of a container is determined by the list of names
// and sizes: nothing can hide in a header, in padding or after the end. It also accepts
// a container in which no content was moved to a multiple of 4096, as all once were.
//
//	w := tarfile.NewWriter(f)
//	w.Add("hello", 5, strings.NewReader("world"))
//	w.Close()
//
//	t, err := tarfile.OpenFile(ctx, "b.tar")
//	m, ok := t.Lookup("hello")
//	at := t.Extents(m)
//
// The package neither extracts nor decompresses and knows nothing of OCI.
package tarfile
