package pki

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/trust"
)

// makeDir creates dir with mode 0700, regardless of the umask.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create state directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("create state directory: %w", err)
	}
	return nil
}

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
func readPair(dir, name string) (pair, error) {
	cert, err1 := readSecret(filepath.Join(dir, name+".crt"))
	key, err2 := readSecret(filepath.Join(dir, name+".key"))
	if err := errors.Join(err1, err2); err != nil {
		return pair{}, fmt.Errorf("read credential %q: %w", name, err)
	}
	return pair{cert: cert, key: key}, nil
}

// writePair writes the key first: a certificate on disk means that both exist.
func writePair(dir, name string, p pair) error {
	if err := durable.WriteFile(filepath.Join(dir, name+".key"), p.key, 0o600); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, name+".crt"), p.cert, 0o600)
}
