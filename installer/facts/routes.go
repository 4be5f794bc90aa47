package facts

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
)

// routes reads the main table, /proc/net/route (fib_route_seq_show in
// net/ipv4/fib_trie.c of Linux): interface, destination, gateway, flags, two
// counters, metric, mask; addresses are in hex. A route without an interface, "*",
// drops packets and does not count. It returns the default routes, by metric, and the others.
func routes(env *step.Env) ([]Route, []Way, error) {
	b, err := env.ReadFile("/proc/net/route")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defaults := []Route{}
	var ways []Way
	for l := range strings.Lines(string(b)) {
		f := strings.Fields(l)
		if len(f) < 8 || f[0] == "*" {
			continue
		}
		to, ok := routeAddress(f[1])
		mask, okMask := routeAddress(f[7])
		if !ok || !okMask {
			continue // the header
		}
		four := mask.As4()
		bits, _ := net.IPMask(four[:]).Size()
		if bits > 0 {
			ways = append(ways, Way{netip.PrefixFrom(to, bits), f[0]})
			continue
		}
		r := Route{Interface: f[0]}
		if gateway, ok := routeAddress(f[2]); ok && !gateway.IsUnspecified() {
			r.Gateway = gateway
		}
		r.Metric, _ = strconv.Atoi(f[6])
		defaults = append(defaults, r)
	}
	slices.SortStableFunc(defaults, func(a, b Route) int { return cmp.Compare(a.Metric, b.Metric) })
	return defaults, ways, nil
}

// routeAddress parses an address in the byte order of the host.
func routeAddress(s string) (netip.Addr, bool) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != 4 {
		return netip.Addr{}, false
	}
	var a [4]byte
	binary.NativeEndian.PutUint32(a[:], binary.BigEndian.Uint32(raw))
	return netip.AddrFrom4(a), true
}

// reversePath returns the setting rp_filter that applies to an interface, the
// greater of its two values (Documentation/networking/ip-sysctl.rst).
func reversePath(env *step.Env, name string) int {
	highest := 0
	for _, x := range []string{"all", name} {
		if l, err := line(env, "/proc/sys/net/ipv4/conf/"+x+"/rp_filter"); err == nil {
			n, _ := strconv.Atoi(l)
			highest = max(highest, n)
		}
	}
	return highest
}
