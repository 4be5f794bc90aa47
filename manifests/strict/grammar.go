package strict

import (
	_ "crypto/sha256" // the digest algorithms of CheckDigest
	_ "crypto/sha512"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

var (
	dnsLabel    = NewPattern(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	labelPart   = NewPattern(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	argName     = NewPattern(`^[a-z0-9][a-z0-9-]*$`)
	packageName = NewPattern(`^[A-Za-z0-9][A-Za-z0-9.+_-]*$`)
	sysctlKey   = NewPattern(`^[a-z0-9_]+([./][A-Za-z0-9_-]+)+$`)
	optionName  = NewPattern(`^[a-z][A-Za-z0-9]*$`)
	entryName   = NewPattern(`^[a-z0-9][a-z0-9.-]*$`)
)

// IsName reports the name of a catalog entry, a component or a check.
func IsName(s string) bool { return entryName.MatchString(s) }

// IsPackageName reports the name of an operating system package.
func IsPackageName(s string) bool { return packageName.MatchString(s) }

// IsOptionName reports the name of an option of a pod network, such as directRouting.
func IsOptionName(s string) bool { return optionName.MatchString(s) }

// IsDNSLabel reports an RFC 1123 label in lower case.
func IsDNSLabel(s string) bool { return dnsLabel.MatchString(s) }

// IsDNSName reports an RFC 1123 subdomain in lower case that is not an address.
func IsDNSName(s string) bool {
	if len(s) > 253 {
		return false
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return false
	}
	for _, l := range strings.Split(s, ".") {
		if !dnsLabel.MatchString(l) {
			return false
		}
	}
	// Some programs read a name with a numeric last label as an address.
	last := s[strings.LastIndexByte(s, '.')+1:]
	_, err := strconv.Atoi(last)
	return err != nil || !strings.Contains(s, ".")
}

// IsSysctl reports the name of a kernel setting, with dots or slashes.
func IsSysctl(s string) bool { return sysctlKey.MatchString(s) }

// MaxNodeName is the largest length of a node's name: Kubernetes keeps it as the
// value of the label kubernetes.io/hostname.
const MaxNodeName = 63

// IsNodeName reports the name of a host that can be a node.
func IsNodeName(s string) bool {
	return len(s) <= MaxNodeName && IsDNSName(s) && s != "localhost"
}

// IsLabelKey reports a Kubernetes label or taint key.
func IsLabelKey(s string) bool {
	prefix, name, ok := strings.Cut(s, "/")
	if !ok {
		return labelPart.MatchString(s)
	}
	return IsDNSName(prefix) && labelPart.MatchString(name)
}

// IsLabelValue reports a Kubernetes label or taint value.
func IsLabelValue(s string) bool { return s == "" || labelPart.MatchString(s) }

// IsPlainPath reports a relative path that is safe on a host and in a URL: it
// never leaves its directory and needs no escapes.
func IsPlainPath(p string) bool {
	return p != "." && fs.ValidPath(p) && len(p) <= 1024 &&
		!strings.ContainsAny(p, `\%?#`) && !strings.ContainsFunc(p, Unprintable)
}

// Unprintable reports a character that a name, a version or a URL must not have.
func Unprintable(r rune) bool { return r <= ' ' || r == 0x7f || r == '\ufffd' }

// IsDigest reports a sha256 or sha512 digest. It takes a hundredth of the time of
// digest.Digest.Validate, which each digest of a bundle passes several times.
func IsDigest(d digest.Digest) bool {
	algorithm, hex, _ := strings.Cut(string(d), ":")
	switch digest.Algorithm(algorithm) {
	case digest.SHA256, digest.SHA512:
	default:
		return false
	}
	for i := range len(hex) {
		if c := hex[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(hex) == 2*digest.Algorithm(algorithm).Size()
}

// CheckDigest returns an error unless d is empty or a sha256 or sha512 digest.
func CheckDigest(d digest.Digest) error {
	if d == "" || IsDigest(d) {
		return nil
	}
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w, want sha256: and 64 hexadecimal digits", d, err)
	}
	return fmt.Errorf("digest %q: want sha256 or sha512", d)
}
