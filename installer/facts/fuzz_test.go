package facts

import (
	"net/netip"
	"testing"
)

// FuzzParsers: whatever the kernel and the administrator write, no parser panics.
func FuzzParsers(f *testing.F) {
	f.Add([]byte("0100007F:1F90"), "nameserver 10.0.0.53\n")
	f.Add([]byte("00000000000000000000000001000000:0016"), "nameserver fd00::53 # second\n")
	f.Add(make([]byte, 24), "options ndots:1\n")
	f.Fuzz(func(t *testing.T, b []byte, text string) {
		typed(b)
		if addr, port, ok := socket(string(b)); ok && (!addr.IsValid() || port < 0 || port > 65535) {
			t.Errorf("%q: %s %d", b, addr, port)
		}
		for _, s := range nameservers(text) {
			if a, err := netip.ParseAddr(s); err != nil || a.IsLoopback() {
				t.Errorf("%q: name server %q", text, s)
			}
		}
	})
}
