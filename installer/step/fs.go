package step

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/bundle/durable"
)

// Path returns the path of p below Root.
func (e *Env) Path(p string) string {
	if e.Root == "" {
		return p
	}
	return filepath.Join(e.Root, p)
}

// ReadFile reads the file at p.
func (e *Env) ReadFile(p string) ([]byte, error) { return os.ReadFile(e.Path(p)) }

// exists reports whether there is anything at p, even a dangling link.
func (e *Env) exists(p string) bool {
	_, err := os.Lstat(e.Path(p))
	return err == nil
}

// place is the path, mode and owner of a file to write.
type place struct {
	path         string
	mode         Mode
	owner, group string
}

// found is the current state of a path.
type found struct {
	exists   bool
	mode     Mode
	uid, gid int
	size     int64
}

// stat returns the state of path. A symbolic link is ErrSymlink, a device an error:
// nothing is ever written through them.
func (e *Env) stat(path string) (found, error) {
	if err := e.checkParents(path); err != nil {
		return found{}, err
	}
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

// checkParents refuses a path below a symbolic link: a change would go to a place that
// the step does not name.
func (e *Env) checkParents(path string) error {
	for dir := filepath.Dir(path); dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if st, err := os.Lstat(e.Path(dir)); err == nil && st.Mode()&fs.ModeSymlink != 0 {
			return fmt.Errorf("file %q: directory %q %w, which offk8s does not follow", path, dir, ErrSymlink)
		}
	}
	return nil
}

// differs compares mode and owner and returns the difference, "" if there is none.
func (e *Env) differs(p place, f found) (string, error) {
	if f.mode != p.mode {
		return fmt.Sprintf("mode %s, want %s", f.mode, p.mode), nil
	}
	uid, gid, err := e.ids(p.owner, p.group)
	if errors.Is(err, errNoName) {
		return err.Error(), nil // an earlier step makes it
	}
	if err != nil {
		return "", err
	}
	if f.uid != uid || f.gid != gid {
		return fmt.Sprintf("owner %d:%d, want %d:%d", f.uid, f.gid, uid, gid), nil
	}
	return "", nil
}

// write copies r to a temporary file beside p.path, syncs it and renames it there. If
// r fails, the file at p.path does not change. It creates missing parents.
func (e *Env) write(p place, r io.Reader) (err error) {
	uid, gid, err := e.ids(p.owner, p.group)
	if err != nil {
		return err
	}
	dest := e.Path(p.path)
	if err := e.makeParents(p.path); err != nil {
		return err
	}
	// One agent works on a host, so that whatever has this name is of a run that was killed.
	if err := os.Remove(partial(dest)); err != nil && !absent(err) {
		return err
	}
	tmp, err := os.OpenFile(partial(dest), os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name()))
		}
	}()
	if _, err = io.Copy(tmp, r); err != nil {
		return err
	}
	if err = tmp.Chown(uid, gid); err != nil {
		return err
	}
	if err = tmp.Chmod(p.mode.Perm()); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = durable.Rename(tmp.Name(), dest); err != nil {
		return err
	}
	return tmp.Close()
}

// missingParents returns the directories above path that do not exist, outermost first.
func (e *Env) missingParents(path string) []string {
	var missing []string
	for dir := filepath.Dir(path); !e.exists(dir); dir = filepath.Dir(dir) {
		missing = append(missing, dir)
	}
	slices.Reverse(missing)
	return missing
}

// makeParents creates the directories above path, 0755 whatever the umask.
func (e *Env) makeParents(path string) error {
	if err := e.checkParents(path); err != nil {
		return err
	}
	for _, dir := range e.missingParents(path) {
		if err := os.Mkdir(e.Path(dir), 0o755); err != nil {
			return err
		}
		if err := os.Chmod(e.Path(dir), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// removeEmpty removes the given directories, innermost first, as long as they are
// empty and no step needs them.
func (e *Env) removeEmpty(dirs []string) {
	for i, dir := range slices.Backward(dirs) {
		if e.needed(dir) {
			if e.Left != nil {
				e.Left(&Directory{Path: dir}, priorJSON(dirPrior{Made: dirs[:i]}))
			}
			return
		}
		if checkPath("path", dir) != nil || e.checkParents(dir) != nil || syscall.Rmdir(e.Path(dir)) != nil {
			return
		}
	}
}

// ids resolves names or numbers by the host's files; "" is the ID of the agent.
// The files of users and groups, and the error of a name that is not in them.
const (
	passwdFile = "/etc/passwd"
	groupFile  = "/etc/group"
)

var errNoName = errors.New("is not in")

func (e *Env) ids(owner, group string) (uid, gid int, err error) {
	if uid, err = e.id(passwdFile, owner, os.Geteuid()); err != nil {
		return 0, 0, fmt.Errorf("owner %w", err)
	}
	if gid, err = e.id(groupFile, group, os.Getegid()); err != nil {
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
	return 0, fmt.Errorf("%q %w %s", name, errNoName, file)
}

const labelAttr = "security.selinux"

// edit writes a new text of a system file with the mode, owner and SELinux label of
// the file that it replaces. A new file would get the label of its directory, but
// /etc/hosts and /etc/hostname have special types, and hostnamed may not write to a
// file of another type.
func (e *Env) edit(path string, now found, text string) error {
	p := place{path: path, mode: 0o644}
	if now.exists {
		p = place{path, now.mode, strconv.Itoa(now.uid), strconv.Itoa(now.gid)}
	}
	return e.writeKeepingLabel(p, strings.NewReader(text))
}

// partial returns the name of a file until it is complete.
func partial(dest string) string {
	sum := sha256.Sum256([]byte(filepath.Base(dest)))
	return filepath.Join(filepath.Dir(dest), fmt.Sprintf(".offk8s-%x", sum[:6]))
}

func (e *Env) writeKeepingLabel(p place, r io.Reader) error {
	path := e.Path(p.path)
	label := make([]byte, 4096)
	n, err := unix.Lgetxattr(path, labelAttr, label)
	if err != nil {
		n = 0 // no such file, or no SELinux
	}
	if err := e.write(p, r); err != nil || n == 0 {
		return err
	}
	if err := unix.Lsetxattr(path, labelAttr, label[:n], 0); err != nil {
		e.Log.Warn("file has lost its SELinux label, restorecon restores it", "path", p.path, "error", err)
	}
	return nil
}
