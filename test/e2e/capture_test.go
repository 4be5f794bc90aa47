//go:build e2e

package e2e

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"
)

// A recording has the connections that leave, to whomever, and questions to name servers
// that have no way out; packets of a connection after the first are not in it.
func TestCapture(t *testing.T) {
	l := newLab(t)
	l.sh(t, "netns", "recorded", "10.66.0.9/24")
	t.Cleanup(func() { l.sh(t, "down", "recorded") })
	c, err := startCapture(host{name: "recorded"})
	must(t, err)
	for _, argv := range [][]string{
		{"curl", "-s", "--max-time", "1", "http://10.66.0.1:81/"}, // refused
		{"curl", "-s", "--max-time", "1", "--interface", "10.66.0.9", "http://192.0.2.7/"},
		{"bash", "-c", "printf 'AB\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\4Info\\7example\\0\\0\\1\\0\\1' >/dev/udp/127.0.0.1/53; printf x >/dev/udp/10.66.0.1/514"},
	} {
		_ = exec.Command("ip", append([]string{"netns", "exec", "recorded"}, argv...)...).Run() // nobody answers
	}
	must(t, c.end())
	for _, f := range []flow{{"tcp", netip.MustParseAddrPort("10.66.0.1:81")}, {"tcp", netip.MustParseAddrPort("192.0.2.7:80")}, {"udp", netip.MustParseAddrPort("10.66.0.1:514")}} {
		if c.flows[f] == 0 {
			t.Errorf("%s is not recorded: %v", f, c.flows)
		}
	}
	for f := range c.flows {
		if f.to.Addr().IsLoopback() || strings.HasPrefix(f.protocol, "protocol") {
			t.Errorf("%s is recorded", f)
		}
	}
	if c.questions["info.example."] == 0 || len(c.questions) != 1 || c.lost > 0 {
		t.Errorf("questions %v, lost %d", c.questions, c.lost)
	}
}
