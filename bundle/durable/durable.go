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
// the data is in a file beside path that only its owner can read. If WriteFile
// fails, path is unchanged.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.partial")
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	if _, err = f.Write(data); err == nil {
		err = errors.Join(f.Chmod(mode), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // gone already if only the sync of the directory failed
		return fmt.Errorf("write %q: %w", path, err)
	}
	return nil
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
