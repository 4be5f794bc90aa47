package step

import (
	"fmt"
	"io"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// largeFile is the size in bytes from which Digests remembers a file. Hashing smaller
// ones, such as keys, takes no time.
const largeFile = 1 << 20

// settled is how long a file must not have changed before it is hashed: a change within
// the same tick of the file system's clock would not be visible. Tests replace it.
var settled = 2 * time.Second

// Digests remembers the digests of large files, such as the programs of the bundle, as
// long as nothing has written to them: a write, a file in its place and a change of its
// times all change the identity of a file. Safe for concurrent use.
type Digests struct {
	mu      sync.Mutex
	files   map[string]KnownFile // by device and inode
	changed bool
}

// KnownFile is the digest of a file with the identity that it had when it was hashed.
type KnownFile struct {
	Identity string        `json:"identity"` // size, and times of change in nanoseconds
	Digest   digest.Digest `json:"digest"`
}

// NewDigests returns Digests that remember files, as Changed has returned them.
func NewDigests(files map[string]KnownFile) *Digests {
	d := &Digests{files: map[string]KnownFile{}}
	maps.Copy(d.files, files)
	return d
}

// Changed returns the files if they have changed since the last call, else nil.
func (d *Digests) Changed() map[string]KnownFile {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.changed {
		return nil
	}
	d.changed = false
	return maps.Clone(d.files)
}

// of returns the digest of an open file, which it reads from r if it has to. A nil Digests
// remembers nothing.
func (d *Digests) of(f *os.File, r io.Reader) (digest.Digest, error) {
	start := time.Now()
	inode, before, fit, err := identity(f, start)
	if err != nil {
		return "", err
	}
	fit = fit && d != nil
	if fit {
		d.mu.Lock()
		known := d.files[inode]
		d.mu.Unlock()
		if known.Identity == before && known.Digest.Validate() == nil {
			return known.Digest, nil
		}
	}
	sum, err := digest.FromReader(r)
	if err != nil || !fit {
		return sum, err
	}
	_, after, _, err := identity(f, start)
	if err == nil && after == before {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.files[inode], d.changed = KnownFile{before, sum}, true
	}
	return sum, err
}

// identity returns the identity of a file, and whether it is fit to be remembered.
func identity(f *os.File, now time.Time) (inode, id string, fit bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", "", false, fmt.Errorf("%q: %w", f.Name(), err)
	}
	last := now.Add(-settled).UnixNano()
	fit = st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size >= largeFile && st.Mtim.Nano() < last && st.Ctim.Nano() < last
	return fmt.Sprintf("%d %d", st.Dev, st.Ino), fmt.Sprintf("%d %d %d", st.Size, st.Mtim.Nano(), st.Ctim.Nano()), fit, nil
}
