package durable

import (
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ShareUnit is a multiple of the blocks that most file systems share between files, in bytes.
const ShareUnit = 4096

// Share appends bytes of src from off on, at most size, by having both files refer to the
// same blocks of the device (a reflink). It returns how many: 0 if the file system cannot
// do that, and never the last ones that do not fill a block. The caller writes the rest.
func (s *Stream) Share(src *os.File, off, size int64) int64 {
	n := size &^ (ShareUnit - 1)
	if n == 0 || off%ShareUnit != 0 || s.written%ShareUnit != 0 {
		return 0
	}
	r := unix.FileCloneRange{Src_fd: int64(src.Fd()), Src_offset: uint64(off), Src_length: uint64(n), Dest_offset: uint64(s.written)}
	if unix.IoctlFileCloneRange(int(s.Fd()), &r) != nil {
		return 0
	}
	if _, err := s.Seek(n, io.SeekCurrent); err != nil {
		return 0 // the caller writes the same bytes over them
	}
	s.written += n
	return n
}

// Shares reports whether files in the directory to can share blocks with those in from.
// It tries with two files without names.
func Shares(from, to string) bool {
	var files [2]*os.File
	for i, dir := range []string{from, to} {
		f, err := os.OpenFile(filepath.Clean(dir), os.O_RDWR|unix.O_TMPFILE, 0o600)
		if err != nil {
			return false
		}
		defer f.Close()
		files[i] = f
	}
	if _, err := files[0].Write(make([]byte, ShareUnit)); err != nil {
		return false
	}
	return unix.IoctlFileClone(int(files[1].Fd()), int(files[0].Fd())) == nil
}
