package probe

import (
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/test/testenv"
)

var equal = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// inNetwork runs fn in a network of its own: two interfaces "near" and "far" with a cable
// between them; far has 192.0.2.2. It ends with the thread.
func inNetwork(t *testing.T, fn func()) {
	t.Helper()
	testenv.NeedRoot(t)
	testenv.NeedTool(t, "ip")
	done := make(chan string, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends here
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- "unshare: " + err.Error()
			return
		}
		for _, args := range []string{
			"link add name near type veth peer name far", "address add 192.0.2.2/24 dev far", "link set far up", "link set near up",
		} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				done <- "ip " + args + ": " + string(out)
				return
			}
		}
		// The kernel drops packets until it has noticed the cable, up to a second later.
		for range 5000 {
			if out, _ := exec.Command("ip", "link").Output(); strings.Count(string(out), "state UP") == 2 {
				break
			}
		}
		fn()
		done <- ""
	}()
	if why := <-done; why != "" {
		t.Fatal(why)
	}
}

func TestNeighbor(t *testing.T) {
	inNetwork(t, func() {
		for address, want := range map[string]int{"192.0.2.2": 1, "192.0.2.3": 0} {
			limit := time.Minute
			if want == 0 {
				limit = 300 * time.Millisecond
			}
			got, err := Probe{Kind: Neighbor, Interface: "near", Address: netip.MustParseAddr(address)}.neighbor(t.Context(), limit)
			if err != nil || len(got) != want {
				t.Errorf("%s: %+v, error %v; want %d stations", address, got, err, want)
				continue
			}
			if want == 0 {
				continue
			}
			b, err := net.InterfaceByName("far")
			if err != nil {
				t.Error(err)
			} else if want := (Station{Address: netip.MustParseAddr(address), MAC: b.HardwareAddr.String()}); got[0] != want {
				t.Errorf("%+v, want %+v", got[0], want)
			}
		}
		if out, _ := exec.Command("ip", "neigh").Output(); len(out) > 0 {
			t.Errorf("somebody remembers the question: %s", out)
		}
	})
}

func TestRouters(t *testing.T) {
	inNetwork(t, func() {
		to, err := openVRRP("near")
		if err != nil {
			t.Error(err)
			return
		}
		defer to.Close()
		from, err := openLink("far", unix.ETH_P_IP, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer from.Close()
		udp := advert(51, "192.0.2.9")
		udp[9] = 17
		for _, packet := range [][]byte{udp, advert(51, "192.0.2.2"), advert(51, "192.0.2.2"), advert(7, "192.0.2.9")} {
			if err := from.send(packet, vrrpGroup); err != nil {
				t.Error(err)
			}
		}
		mac := from.iface.HardwareAddr.String()
		want := []Station{
			{Address: netip.MustParseAddr("192.0.2.2"), MAC: mac, VRRPID: 51},
			{Address: netip.MustParseAddr("192.0.2.9"), MAC: mac, VRRPID: 7},
		}
		got, err := to.routers(t.Context(), 250*time.Millisecond)
		if diff := cmp.Diff(want, got, equal); err != nil || diff != "" {
			t.Errorf("error %v (-want +got):\n%s", err, diff)
		}
	})
}

// advert returns an advertisement of VRRP version 2.
func advert(id byte, source string) []byte {
	b := make([]byte, 20, 40)
	b[0], b[3], b[8], b[9] = 0x45, 40, 255, protocolVRRP
	copy(b[12:], netip.MustParseAddr(source).AsSlice())
	copy(b[16:], []byte{224, 0, 0, 18})
	return append(b, 0x21, id, 100, 1, 0, 1, 0, 0, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0)
}

func TestParse(t *testing.T) {
	good := advert(51, "192.0.2.2")
	options := append([]byte{0x46}, good[1:20]...)
	options = append(append(options, 1, 1, 1, 1), good[20:]...)
	three := append([]byte{}, good...)
	three[20] = 0x31
	for name, b := range map[string][]byte{"version 2": good, "version 3": three, "IP options": options} {
		if s, ok := parseVRRP(b); !ok || s.VRRPID != 51 || s.Address.String() != "192.0.2.2" {
			t.Errorf("%s: %+v %v", name, s, ok)
		}
	}
	for n := range good[:28] {
		if _, ok := parseVRRP(good[:n]); ok {
			t.Errorf("accepts %d bytes", n)
		}
	}
	question := arpProbe(net.HardwareAddr{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("192.0.2.2"))
	if len(question) != 28 {
		t.Errorf("question of %d bytes", len(question))
	}
	if sender, mac, ok := parseARP(question); !ok || !sender.IsUnspecified() || mac.String() != "02:00:00:00:00:01" {
		t.Errorf("sender %s, %s", sender, mac)
	}
	for n := range question {
		if _, _, ok := parseARP(question[:n]); ok {
			t.Errorf("accepts %d bytes", n)
		}
	}
}

func TestRunErrors(t *testing.T) {
	got := Run(t.Context(), []Probe{
		{Kind: VRRP, Interface: "none such"},
		{Kind: Neighbor, Interface: "lo", Address: netip.MustParseAddr("::1")},
		{Kind: "other"},
	})
	for i, want := range []string{`interface "none such"`, "not IPv4", `probe "other"`} {
		if !strings.Contains(got[i].Error, want) {
			t.Errorf("error %q, want %q", got[i].Error, want)
		}
	}
}
