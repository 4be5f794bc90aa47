package probe

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/test/testenv"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// freePort returns a port that nobody has.
func freePort(t *testing.T, protocol string) int {
	t.Helper()
	if protocol == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.LocalAddr().(*net.UDPAddr).Port
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestReach(t *testing.T) {
	for _, protocol := range []string{"tcp", "udp"} {
		port := freePort(t, protocol)
		listen := Probe{Kind: Listen, Protocol: protocol, Address: loopback, Port: port}
		dial := Probe{Kind: Dial, Protocol: protocol, Target: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
		if err := dial.dial(t.Context(), time.Second); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: nobody listens, and the error is %v", protocol, err)
		}
		open, answers := Open([]Probe{listen, listen})
		if answers[0].Error != "" || answers[0].Busy || !answers[1].Busy || answers[1].Error != "" {
			t.Errorf("%s: %+v, want the second one busy", protocol, answers)
		}
		if got := Run(t.Context(), []Probe{dial, dial}); got[0].Error != "" || got[1].Error != "" {
			t.Errorf("%s: %+v", protocol, got)
		}
		if err := open.Close(); err != nil {
			t.Error(err)
		}
		if err := dial.dial(t.Context(), time.Second); err == nil {
			t.Errorf("%s: answered after the end", protocol)
		}
	}
}

// A host that drops packets is not waited for longer than the limit.
func TestReachSilence(t *testing.T) {
	inNetwork(t, func() {
		silent := Probe{Kind: Dial, Protocol: "udp", Target: "192.0.2.3:9"}
		if err := silent.dial(t.Context(), 300*time.Millisecond); err == nil {
			t.Error("nobody is there, and it is no error")
		}
	})
}

// Protocols without ports are answered too.
func TestReachProtocols(t *testing.T) {
	testenv.NeedRoot(t)
	for _, protocol := range []string{"vrrp", "ipip"} {
		dial := Probe{Kind: Dial, Protocol: protocol, Target: "127.0.0.1"}
		open, answers := Open([]Probe{{Kind: Listen, Protocol: protocol, Address: loopback}})
		if answers[0].Error != "" {
			t.Fatal(answers[0].Error)
		}
		if err := dial.dial(t.Context(), time.Minute); err != nil {
			t.Errorf("%s: %v", protocol, err)
		}
		if err := open.Close(); err != nil {
			t.Error(err)
		}
		if err := dial.dial(t.Context(), 300*time.Millisecond); err == nil {
			t.Errorf("%s: answered after the end", protocol)
		}
	}
}

func TestReachErrors(t *testing.T) {
	open, got := Open([]Probe{{Kind: Dial}, {Kind: Listen, Protocol: "gre", Address: loopback}})
	defer open.Close()
	got = append(got, Run(t.Context(), []Probe{{Kind: Dial, Protocol: "gre", Target: "127.0.0.1"}})...)
	for i, want := range []string{"not one that listens", `protocol "gre"`, `protocol "gre"`} {
		if !strings.Contains(got[i].Error, want) {
			t.Errorf("error %q, want %q", got[i].Error, want)
		}
	}
}
