package manifests

import (
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// Grammars of what a person writes. They are narrow on purpose: names end up
// in unit files, hosts files, certificates and command lines (T-41).
var (
	dnsLabel    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	labelPart   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	taintForm   = regexp.MustCompile(`^([^=:]+)(=([^=:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)$`)
	userName    = regexp.MustCompile(`^[a-z_][a-z0-9_.-]{0,31}$`)
	fingerprint = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	sshKeyPrint = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)
	sysctlKey   = regexp.MustCompile(`^[a-z0-9_-]+(\.[A-Za-z0-9_-]+)+$`)
	plainWord   = regexp.MustCompile(`^[A-Za-z0-9_./:=,+@-]+$`)
	fileName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$`)
)

// isDNSName reports an RFC 1123 subdomain in lower case that is not an address.
func isDNSName(s string) bool {
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
	// A last label of digits alone would be read as an address by some.
	last := s[strings.LastIndexByte(s, '.')+1:]
	_, err := strconv.Atoi(last)
	return err != nil || !strings.Contains(s, ".")
}

// isHost reports a DNS name or an IP address without a zone.
func isHost(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == "" || isDNSName(s)
}

// isHostPort reports host:port.
func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= 1 && n <= 65535 && strconv.Itoa(n) == port && isHost(host)
}

// isLabelKey reports a Kubernetes label or taint key.
func isLabelKey(s string) bool {
	prefix, name, ok := strings.Cut(s, "/")
	if !ok {
		return labelPart.MatchString(s)
	}
	return isDNSName(prefix) && labelPart.MatchString(name)
}

// isLabelValue reports a Kubernetes label or taint value.
func isLabelValue(s string) bool { return s == "" || labelPart.MatchString(s) }

// isTaint reports key=value:Effect or key:Effect.
func isTaint(s string) bool {
	m := taintForm.FindStringSubmatch(s)
	return m != nil && isLabelKey(m[1]) && isLabelValue(m[3])
}
