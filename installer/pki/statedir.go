package pki

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests/strict"
)

// stateDir is a directory of secrets.
type stateDir struct {
	path string
	// memory, if it is not nil, takes everything written, by file name: the directory
	// itself stays as it is.
	memory map[string]trust.Secret
	// If path is "", there is no directory, only memory.
}

// openDir returns the directory at path. It creates it with mode 0700, regardless of
// the umask, unless the directory is only to be read.
func openDir(path string, readOnly bool) (stateDir, error) {
	if readOnly {
		return stateDir{path, map[string]trust.Secret{}}, nil
	}
	err := os.MkdirAll(path, 0o700)
	st, statErr := os.Stat(path)
	if err == nil && (statErr != nil || st.Mode().Perm() != 0o700) { // else it may be on a read-only file system
		err = os.Chmod(path, 0o700)
	}
	if err != nil {
		return stateDir{}, fmt.Errorf("create state directory: %w", err)
	}
	return stateDir{path: path}, nil
}

// alone waits until no other process makes an authority in the directory: of two that start at
// one time, each would print the fingerprint of its own. A file system without locks, as some of
// the network, lets both go on.
func (d stateDir) alone() (done func()) {
	f, err := os.Open(d.path)
	if err != nil {
		return func() {} // the reads and writes that follow say why
	}
	for errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX), syscall.EINTR) {
	}
	return func() { _ = f.Close() }
}

// read returns the content of a file, nil and no error if it does not exist.
func (d stateDir) read(name string) (trust.Secret, error) {
	if b, ok := d.memory[name]; ok || d.path == "" {
		return b, nil
	}
	return readSecret(filepath.Join(d.path, name))
}

func (d stateDir) write(name string, b []byte) error {
	if d.memory != nil {
		d.memory[name] = b
		return nil
	}
	return durable.WriteFile(filepath.Join(d.path, name), b, 0o600)
}

// names returns the names of the files that are part of the state, sorted: see
// isState.
func (d stateDir) names() ([]string, error) {
	out := slices.Collect(maps.Keys(d.memory))
	if d.path != "" {
		entries, err := os.ReadDir(d.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if e.Type().IsRegular() {
				out = append(out, e.Name())
			}
		}
	}
	out = slices.DeleteFunc(out, func(name string) bool { return !isState(name) })
	slices.Sort(out)
	return slices.Compact(out), nil
}

// isState reports whether name is that of a credential, or of another file that an
// operator needs to go on with the cluster. The others are the lock, logs, and files that
// each run makes again: the bootstrap token, the administrator's kubeconfig.
func isState(name string) bool {
	return name == encryptionFile || name == vrrpFile || name == uidFile || credentialFile.MatchString(name)
}

var credentialFile = strict.NewPattern(`^[a-z0-9][a-z0-9.-]*\.(crt|key|pub)$`)

// readSecret reads a file, unless other users can read it. It returns nil and no
// error if the file does not exist.
func readSecret(path string) (trust.Secret, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%q has mode %04o, want 0600: others can read it", path, mode)
	}
	return io.ReadAll(f)
}

// readPair reads a certificate and its key, both nil if they do not exist.
func (d stateDir) readPair(name string) (pair, error) {
	cert, err1 := d.read(name + ".crt")
	key, err2 := d.read(name + ".key")
	if err := errors.Join(err1, err2); err != nil {
		return pair{}, fmt.Errorf("read credential %q: %w", name, err)
	}
	return pair{cert: cert, key: key}, nil
}

// writePair writes the key first: a certificate on disk means that both exist.
func (d stateDir) writePair(name string, p pair) error {
	if err := d.write(name+".key", p.key); err != nil {
		return err
	}
	return d.write(name+".crt", p.cert)
}
