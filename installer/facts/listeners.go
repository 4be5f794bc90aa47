package facts

import (
	"cmp"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
)

// listeners reads the kernel's socket tables, see proc(5), /proc/net/tcp. The
// second field is the local address and port in hex, the fourth the state: 0A is
// a listening socket, 07 an unconnected datagram socket.
func listeners(env *step.Env) ([]Listener, error) {
	var out []Listener
	for _, t := range []struct{ file, protocol, state string }{
		{"tcp", "tcp", "0A"}, {"tcp6", "tcp", "0A"}, {"udp", "udp", "07"}, {"udp6", "udp", "07"},
	} {
		b, err := env.ReadFile("/proc/net/" + t.file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for l := range strings.Lines(string(b)) {
			f := strings.Fields(l)
			if len(f) < 4 || f[3] != t.state {
				continue
			}
			if addr, port, ok := socket(f[1]); ok {
				out = append(out, Listener{t.protocol, addr, port})
			}
		}
	}
	slices.SortFunc(out, func(a, b Listener) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), a.Address.Compare(b.Address))
	})
	return slices.Compact(out), nil
}

// socket parses "0100007F:1F90"; the words of the address are little endian.
func socket(s string) (netip.Addr, int, bool) {
	host, p, ok := strings.Cut(s, ":")
	port, err := strconv.ParseUint(p, 16, 16)
	raw, hexErr := hex.DecodeString(host)
	if !ok || err != nil || hexErr != nil || len(raw)%4 != 0 {
		return netip.Addr{}, 0, false
	}
	for i := 0; i+3 < len(raw); i += 4 {
		raw[i], raw[i+1], raw[i+2], raw[i+3] = raw[i+3], raw[i+2], raw[i+1], raw[i]
	}
	addr, ok := netip.AddrFromSlice(raw)
	return addr.Unmap(), int(port), ok
}
