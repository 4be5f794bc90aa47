package step

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/offk8s/offk8s/bundle/durable"
)

// Path returns where p lies for this Env: below Root in tests.
func (e *Env) Path(p string) string {
	if e.Root == "" {
		return p
	}
	return filepath.Join(e.Root, p)
}

// ReadFile reads the file at p.
func (e *Env) ReadFile(p string) ([]byte, error) { return os.ReadFile(e.Path(p)) }

// exists reports whether there is anything at p, also a dangling link.
func (e *Env) exists(p string) bool {
	_, err := os.Lstat(e.Path(p))
	return err == nil
}

// place is where a file goes and how it shall look there.
type place struct {
	path         string
	mode         Mode
	owner, group string
}

// found is what is at a place now.
type found struct {
	exists   bool
	mode     Mode
	uid, gid int
	size     int64
}

// look returns what is at path. A symbolic link is ErrSymlink; neither that
// nor a device is ever written through.
func (e *Env) look(path string) (found, error) {
	st, err := os.Lstat(e.Path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return found{}, nil
	}
	if err != nil {
		return found{}, err
	}
	if st.Mode()&fs.ModeSymlink != 0 {
		return found{}, fmt.Errorf("file %q: %w, remove it first", path, ErrSymlink)
	}
	f := found{exists: true, mode: Mode(st.Mode().Perm()), size: st.Size()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		f.uid, f.gid = int(sys.Uid), int(sys.Gid)
	}
	if !st.Mode().IsRegular() && !st.IsDir() {
		return f, fmt.Errorf("file %q: is a %s, not a file", path, st.Mode().Type())
	}
	return f, nil
}

// differs says what of mode and owner is not as p wants it; "" is nothing.
func (e *Env) differs(p place, f found) (string, error) {
	if f.mode != p.mode {
		return fmt.Sprintf("mode %s, want %s", f.mode, p.mode), nil
	}
	uid, gid, err := e.ids(p.owner, p.group)
	if err != nil {
		return "", err
	}
	if f.uid != uid || f.gid != gid {
		return fmt.Sprintf("owner %d:%d, want %d:%d", f.uid, f.gid, uid, gid), nil
	}
	return "", nil
}

// put writes what r gives beside the place and renames it there once it is
// complete and synced; before an error of r nothing is changed. It returns the
// parent folders it had to make, outermost first.
func (e *Env) put(p place, r io.Reader) (made []string, err error) {
	uid, gid, err := e.ids(p.owner, p.group)
	if err != nil {
		return nil, err
	}
	dest := e.Path(p.path)
	made, err = e.makeParents(p.path)
	if err != nil {
		return made, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(dest), ".offk8s-*")
	if err != nil {
		return made, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name()))
		}
	}()
	if _, err = io.Copy(tmp, r); err != nil {
		return made, err
	}
	if err = tmp.Chown(uid, gid); err != nil {
		return made, err
	}
	if err = tmp.Chmod(p.mode.Perm()); err != nil {
		return made, err
	}
	if err = tmp.Sync(); err != nil {
		return made, err
	}
	if err = durable.Rename(tmp.Name(), dest); err != nil {
		return made, err
	}
	return made, tmp.Close()
}

// makeParents makes the folders above path, 0755 whatever the umask, and returns those it made.
func (e *Env) makeParents(path string) ([]string, error) {
	var made []string
	for dir := filepath.Dir(path); !e.exists(dir); dir = filepath.Dir(dir) {
		made = append([]string{dir}, made...)
	}
	for _, dir := range made {
		if err := os.Mkdir(e.Path(dir), 0o755); err != nil {
			return made, err
		}
		if err := os.Chmod(e.Path(dir), 0o755); err != nil {
			return made, err
		}
	}
	return made, nil
}

// unmake removes folders that makeParents made, where they are empty by now.
func (e *Env) unmake(made []string) {
	for i := len(made) - 1; i >= 0; i-- {
		if checkPath("path", made[i]) != nil || syscall.Rmdir(e.Path(made[i])) != nil {
			return
		}
	}
}

// ids turns names or numbers into ids by the host's own files; empty means the
// agent's own.
func (e *Env) ids(owner, group string) (uid, gid int, err error) {
	if uid, err = e.id("/etc/passwd", owner, os.Geteuid()); err != nil {
		return 0, 0, fmt.Errorf("owner %w", err)
	}
	if gid, err = e.id("/etc/group", group, os.Getegid()); err != nil {
		return 0, 0, fmt.Errorf("group %w", err)
	}
	return uid, gid, nil
}

func (e *Env) id(file, name string, own int) (int, error) {
	if name == "" {
		return own, nil
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 0 {
		return n, nil
	}
	b, err := e.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("%q: %w", name, err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) > 2 && f[0] == name {
			return strconv.Atoi(f[2])
		}
	}
	return 0, fmt.Errorf("%q: not in %s", name, file)
}
