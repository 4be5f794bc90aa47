package facts

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
)

// resolvConfs are the files that list a host's name servers: with systemd-resolved or
// NetworkManager's dnsmasq the first names a local stub, the others the real servers.
var resolvConfs = []string{
	"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf", "/run/NetworkManager/resolv.conf",
}

// resolvers returns the first file that lists name servers that pods can reach,
// and these servers. Loopback addresses do not count: from a pod they lead to the
// pod itself.
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
