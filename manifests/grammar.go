package manifests

import (
	"net"
	"net/netip"
	"regexp"
	"strconv"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Grammars of what a person writes. They are narrow on purpose: names end up
// in unit files, hosts files, certificates and command lines (T-41).
var (
	taintForm   = regexp.MustCompile(`^([^=:]+)(=([^=:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)$`)
	userName    = regexp.MustCompile(`^[a-z_][a-z0-9_.-]{0,31}$`)
	fingerprint = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	sshKeyPrint = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)
	plainWord   = regexp.MustCompile(`^[A-Za-z0-9_./:=,+@-]+$`)
	fileName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$`)
)

// isHost reports a DNS name or an IP address without a zone.
func isHost(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == "" || strict.IsDNSName(s)
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

// isTaint reports key=value:Effect or key:Effect.
func isTaint(s string) bool {
	m := taintForm.FindStringSubmatch(s)
	return m != nil && strict.IsLabelKey(m[1]) && strict.IsLabelValue(m[3])
}
