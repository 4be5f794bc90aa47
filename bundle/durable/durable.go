// Package durable writes files that after a crash or a power loss are there as a
// whole or not at all, and locks files. Callers that stream write a temporary
// file, sync it and call Rename.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteFile replaces path with data, in mode regardless of the umask. Until then
// the data is in the file Partial(path), which only its owner can read. If WriteFile
// fails, path is unchanged.
func WriteFile(path string, data []byte, mode fs.FileMode) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %q: %w", path, err)
		}
	}()
	f, err := partial(path)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = errors.Join(f.Chmod(mode), f.Sync())
	}
	if err == nil {
		err = Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // gone already if only the sync of the directory failed
	}
	return errors.Join(err, f.Close())
}

// Partial returns the name of the file in which WriteFile(path) writes. A process that is
// killed can leave it; the next WriteFile(path) replaces it.
func Partial(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".partial")
}

// partial creates the file Partial(path), which is locked until it is closed.
func partial(path string) (*os.File, error) {
	name := Partial(path)
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		switch {
		case errors.Is(err, fs.ErrExist):
			if err := removeLeft(name); err != nil {
				return nil, fmt.Errorf("%q is left over from another run: %w", name, err)
			}
		case err != nil:
			return nil, err
		case lockNamed(f):
			return f, nil
		default: // it was taken for one that is left over
			_ = f.Close()
		}
	}
}

// removeLeft removes a partial file that a process has left. If a process has it locked,
// removeLeft waits until that ends.
func removeLeft(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if lockNamed(f) {
		return unix.Unlink(name)
	}
	return nil
}

// lockNamed locks f and reports whether it still has its name. Where the file system has no
// locks, only two processes that write one file at one time are in each other's way.
func lockNamed(f *os.File) bool {
	for errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX), unix.EINTR) {
	}
	opened, err := f.Stat()
	named, err2 := os.Lstat(f.Name())
	return err == nil && err2 == nil && os.SameFile(opened, named)
}

// Create writes a new file, in mode less the umask. The error is
// fs.ErrExist if path exists, which is never replaced. After another error there
// is no file.
func Create(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %q: %w", path, err), os.Remove(path))
	}
	return nil
}

// Rename moves a file, which the caller has synced, over dest and syncs the
// directory of dest. Both must be in one file system.
func Rename(path, dest string) error {
	if err := os.Rename(path, dest); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(dest))
}

// SyncDir makes the names in a directory durable. File systems that cannot do
// that (FAT through FUSE) are not an error.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("sync directory %q: %w", dir, err)
	}
	return nil
}
