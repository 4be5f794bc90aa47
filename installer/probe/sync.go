package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of Sync: etcd appends small records to its log, and waits for each.
const (
	syncBlock  = 8 << 10 // bytes
	syncWrites = 500
	syncLimit  = 3 * time.Second
)

// sync returns how long 99 of 100 writes to the disk of a directory take. The file has no
// name, so that nothing of it stays.
func (p Probe) sync(ctx context.Context) (time.Duration, error) {
	dir, err := beside(p.Path)
	if err != nil {
		return 0, err
	}
	f, err := os.CreateTemp(dir, ".offk8s-sync-")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return 0, err
	}
	block := bytes.Repeat([]byte{1}, syncBlock)
	var took []time.Duration
	for end := time.Now().Add(syncLimit); len(took) < syncWrites && (len(took) == 0 || time.Now().Before(end)) && ctx.Err() == nil; {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		began := time.Now()
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, fmt.Errorf("fdatasync in %q: %w", dir, err)
		}
		took = append(took, time.Since(began))
	}
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	return percentile99(took), nil
}

// percentile99 returns the time that 99 of 100 do not exceed, of at least one.
func percentile99(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[(len(took)*99-1)/100]
}

// beside returns a directory on the disk that holds dir, or will hold it: dir itself only
// if it is a mount point.
func beside(dir string) (string, error) {
	for {
		var st, parent unix.Stat_t
		err := unix.Stat(dir, &st)
		up := filepath.Dir(dir)
		if err == nil && up == dir {
			return dir, nil
		}
		if err == nil {
			err = unix.Stat(up, &parent)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist) && up != dir:
			dir = up
			continue
		case err != nil:
			return "", fmt.Errorf("disk of %q: %w", dir, err)
		case st.Dev == parent.Dev:
			return up, nil
		}
		return dir, nil
	}
}
