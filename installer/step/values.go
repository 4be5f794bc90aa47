package step

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// Paths on a host that stages and steps share.
const (
	BinDir = "/usr/local/bin" // links to all programs of the bundle
	// ProgramDir has the programs by their digest, so that those of the generation before
	// stay. It is below BinDir for SELinux: files in it get the type bin_t.
	ProgramDir = BinDir + "/.offk8s"
	Etcdctl    = BinDir + "/etcdctl"
	dockerCLI  = BinDir + "/docker"
	EtcdPKI    = "/etc/etcd/pki"           // etcd's certificates and keys
	CertsDir   = "/etc/containerd/certs.d" // registry configuration
)

// Mode is a file mode, "0644" in JSON. The zero value is the default of the step
// kind.
type Mode uint32

// String returns the mode in octal, "0644".
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// Perm returns the permission bits for the os package.
func (m Mode) Perm() fs.FileMode { return fs.FileMode(m) & fs.ModePerm }

// MarshalJSON writes "0644".
func (m Mode) MarshalJSON() ([]byte, error) { return json.Marshal(m.String()) }

// UnmarshalJSON reads "0644".
func (m *Mode) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("mode %s: want a string such as %q", b, "0644")
	}
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		return fmt.Errorf("mode %q: not octal", s)
	}
	*m = Mode(n)
	return nil
}

// check refuses bits beyond rwx: nothing that offk8s installs is setuid.
func (m Mode) check() error {
	if m&^0o777 != 0 {
		return fmt.Errorf("mode %s: only permission bits are allowed", m)
	}
	return nil
}

// Duration is a time.Duration, "1m30s" in JSON.
type Duration time.Duration

// String formats the duration like time.Duration.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes "1m30s".
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads "1m30s".
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("duration %s: want a string such as %q", b, "1m30s")
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("duration %q: %w", s, err)
	}
	*d = Duration(v)
	return nil
}

// checkPath requires a clean absolute path other than the root.
func checkPath(field, p string) error {
	switch {
	case p == "":
		return fmt.Errorf("%s: empty", field)
	case !path.IsAbs(p) || path.Clean(p) != p || p == "/":
		return fmt.Errorf("%s %q: want a clean absolute path", field, p)
	case strings.ContainsFunc(p, isControl):
		return fmt.Errorf("%s %q: control character", field, p)
	}
	return nil
}

// CheckName refuses a name of a Kubernetes object, member or interface that a
// program could take for an option, a path or several words.
func CheckName(field, s string) error {
	if s == "" || strings.HasPrefix(s, "-") || strings.ContainsAny(s, " \t\n\r\x00/") {
		return fmt.Errorf("%s %q: not a name", field, s)
	}
	return nil
}

// isControl reports whether r is an ASCII control character.
func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// checkLine refuses text that is more than one line.
func checkLine(field, s string) error {
	if strings.ContainsAny(s, "\n\r\x00") {
		return fmt.Errorf("%s %q: line break", field, s)
	}
	return nil
}

// checkArgv refuses an empty program name, and NUL bytes, which the kernel refuses.
func checkArgv(field string, argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return fmt.Errorf("%s: empty", field)
	}
	for _, a := range argv {
		if strings.ContainsRune(a, 0) {
			return fmt.Errorf("%s %q: NUL byte", field, a)
		}
	}
	return nil
}

// ErrSymlink reports that a destination is a symbolic link. offk8s does not write
// through it, since the link's target belongs to somebody else.
var ErrSymlink = errors.New("is a symbolic link")
