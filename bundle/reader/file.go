package reader

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// OpenFile opens a regular file for reading. It refuses other files, such as a
// device or a named pipe, at once and without waiting for a writer.
func OpenFile(name string) (*os.File, fs.FileInfo, error) {
	// Without O_NONBLOCK, opening a named pipe waits for its writer.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = Regular(info)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("open %q: %w", name, err)
	}
	return f, info, nil
}

// ReadFile returns the content of a regular file of at most limit bytes. The error
// wraps ErrTooLarge if the file is longer.
func ReadFile(name string, limit int64) ([]byte, error) {
	f, _, err := OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(Limit(f, limit))
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, err)
	}
	return b, nil
}

// fileTypes are the words for files that are not regular.
var fileTypes = []struct {
	mode fs.FileMode
	name string
}{
	{fs.ModeDir, "a directory"},
	{fs.ModeNamedPipe, "a named pipe"},
	{fs.ModeSocket, "a socket"},
	{fs.ModeDevice, "a device"},
}

// ErrNotRegular means that a name leads to a directory, a pipe or a device.
var ErrNotRegular = errors.New("expected a regular file")

// Regular returns an error that names the type of the file unless it is regular.
func Regular(info fs.FileInfo) error {
	if info.Mode().IsRegular() {
		return nil
	}
	for _, t := range fileTypes {
		if info.Mode()&t.mode != 0 {
			return fmt.Errorf("is %s, %w", t.name, ErrNotRegular)
		}
	}
	return fmt.Errorf("is %s, %w", info.Mode().Type(), ErrNotRegular)
}
