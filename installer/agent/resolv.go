package agent

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
)

// resolvConfs are where a host lists its name servers: systemd-resolved keeps
// the real ones in a file of its own and names a local stub in the first.
var resolvConfs = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// resolvers finds the file whose name servers pods can reach too, and these. A
// server on a loopback address is the host's alone: a pod that asked it would
// ask itself.
func resolvers(env *step.Env) (file string, servers []string) {
	for _, path := range resolvConfs {
		b, err := env.ReadFile(path)
		if err != nil {
			continue
		}
		if servers = nameservers(string(b)); len(servers) > 0 {
			return path, servers
		}
	}
	return "", nil
}

// nameservers reads resolv.conf(5).
func nameservers(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && !a.IsLoopback() && !a.IsUnspecified() && !slices.Contains(out, f[1]) {
			out = append(out, f[1])
		}
	}
	return out
}
