package step

import (
	"io"

	"golang.org/x/sys/unix"
)

const labelAttr = "security.selinux"

// putBack is put for a file of the system that is edited: the new one keeps the
// SELinux label of the one it replaces. A file that is made gets its folder's,
// but /etc/hosts and /etc/hostname have types of their own, and hostnamed may
// not write the name to a file of another type.
func (e *Env) putBack(p place, r io.Reader) error {
	path := e.Path(p.path)
	label := make([]byte, 4096)
	n, err := unix.Lgetxattr(path, labelAttr, label)
	if err != nil {
		n = 0 // no such file, or no SELinux
	}
	if _, err := e.put(p, r); err != nil || n == 0 {
		return err
	}
	if err := unix.Lsetxattr(path, labelAttr, label[:n], 0); err != nil {
		e.Log.Warn("file has lost its SELinux label, restorecon gives it back", "path", p.path, "error", err)
	}
	return nil
}
