package facts

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/installer/step"
)

// lacksFileTypes reports whether the file system of containerd's directory does
// not store file types: XFS formatted with ftype=0, the default of EL7 before 7.3.
// The kernel's overlay file system does not work on it.
func lacksFileTypes(env *step.Env) bool {
	for _, dir := range []string{"/var/lib/containerd", "/var/lib"} {
		fd, err := unix.Open(env.Path(dir), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		buf := make([]byte, 4096)
		n, err := unix.ReadDirent(fd, buf)
		_ = unix.Close(fd)
		return err == nil && n > 0 && !typed(buf[:n])
	}
	return false
}

// typed reports whether any entry of getdents64(2) has a type; "." is enough,
// since every directory has it. An entry consists of inode and offset (8 bytes
// each), its length (2), its type (1) and the name.
func typed(entries []byte) bool {
	for len(entries) > 18 {
		if entries[18] != unix.DT_UNKNOWN {
			return true
		}
		length := int(binary.NativeEndian.Uint16(entries[16:]))
		if length < 19 || length > len(entries) {
			return false
		}
		entries = entries[length:]
	}
	return false
}
