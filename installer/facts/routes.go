package facts

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
)

// defaultRoutes reads the main table, /proc/net/route (fib_route_seq_show in
// net/ipv4/fib_trie.c of Linux): interface, destination, gateway, flags, two
// counters, metric, mask; addresses are in hex. A route without an interface, "*",
// drops packets and does not count.
func defaultRoutes(env *step.Env) ([]Route, error) {
	b, err := env.ReadFile("/proc/net/route")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := []Route{}
	for l := range strings.Lines(string(b)) {
		f := strings.Fields(l)
		if len(f) < 8 || f[0] == "*" || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		r := Route{Interface: f[0]}
		if raw, err := hex.DecodeString(f[2]); err == nil && len(raw) == 4 && f[2] != "00000000" {
			var a [4]byte
			binary.NativeEndian.PutUint32(a[:], binary.BigEndian.Uint32(raw))
			r.Gateway = netip.AddrFrom4(a)
		}
		r.Metric, _ = strconv.Atoi(f[6])
		out = append(out, r)
	}
	slices.SortStableFunc(out, func(a, b Route) int { return cmp.Compare(a.Metric, b.Metric) })
	return out, nil
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
