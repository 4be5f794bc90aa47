package tarfile

import (
	"errors"
	"fmt"
	"strings"
)

// maxName is the longest member name in bytes; it keeps the pax record of a
// long name within one block.
const maxName = 255

// ErrName reports a member name outside the grammar of CheckName.
var ErrName = errors.New("name is not a canonical relative path")

// CheckName returns nil if name is a canonical relative path that is safe on
// every file system that may hold a bundle: 1 to 255 bytes, segments of
// [A-Za-z0-9._+~^@=-] joined by single slashes, no "." or ".." segment, no
// segment that ends in a dot, and no device name of Windows. Otherwise it
// returns ErrName with the reason.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("%w: %d bytes, allowed 1 to %d", ErrName, len(name), maxName)
	}
	for seg := range strings.SplitSeq(name, "/") {
		if reason := badSegment(seg); reason != "" {
			return fmt.Errorf("%w: %q: %s", ErrName, name, reason)
		}
	}
	return nil
}

func badSegment(seg string) string {
	if seg == "" {
		return "empty segment"
	}
	for i := range len(seg) {
		c := seg[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("._+~^@=-", c) >= 0:
		default:
			return fmt.Sprintf("byte 0x%02x", c)
		}
	}
	// Covers "." and ".." too; Windows drops trailing dots.
	if strings.HasSuffix(seg, ".") {
		return "segment ends in a dot"
	}
	if isDeviceName(seg) {
		return "device name"
	}
	return ""
}

// isDeviceName reports whether Windows would open a device for seg; an
// extension does not change that.
func isDeviceName(seg string) bool {
	base, _, _ := strings.Cut(strings.ToLower(seg), ".")
	switch base {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(base) == 4 && (base[:3] == "com" || base[:3] == "lpt") && '0' <= base[3] && base[3] <= '9'
}
