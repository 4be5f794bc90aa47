package facts

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/step/steptest"
)

const routeHeader = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"

func TestRoutes(t *testing.T) {
	tests := []struct {
		name, table string
		want        []Route
		ways        string
	}{
		{"own subnet only", "eth0\t0000420A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", []Route{}, "{10.66.0.0/24 eth0}"},
		{"two interfaces", "eth1\t00000000\t0100430A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n" +
			"eth0\t00000000\t0100420A\t0003\t0\t0\t20\t00000000\t0\t0\t0\n" +
			"eth0\t0000420A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", []Route{
			{"eth0", netip.MustParseAddr("10.66.0.1"), 20}, {"eth1", netip.MustParseAddr("10.67.0.1"), 100},
		}, "{10.66.0.0/24 eth0}"},
		{"without a gateway", "ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n", []Route{{Interface: "ppp0"}}, ""},
		{"refused", "*\t00000000\t00000000\t0201\t0\t0\t4096\t00000000\t0\t0\t0\n", []Route{}, ""},
		{"half of the Internet", "tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n", []Route{}, "{0.0.0.0/1 tun0}"},
		{"service range", "eth0\t0000600A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n", []Route{}, "{10.96.0.0/16 eth0}"},
		{"short line", "eth0\t00000000\n", []Route{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := steptest.New(t)
			w.Write(t, "proc/net/route", routeHeader+tt.table, 0o444)
			got, ways, err := routes(w.Env())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.ways, strings.Trim(fmt.Sprint(ways), "[]")); diff != "" {
				t.Errorf("others: -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if got, _, err := routes(steptest.New(t).Env()); got != nil || err != nil {
		t.Errorf("without a table: %v, %v; want nil, which means unknown", got, err)
	}
}

func TestReversePath(t *testing.T) {
	for _, tt := range []struct {
		all, eth0 string
		want      int
	}{{"0", "0", 0}, {"1", "0", 1}, {"0", "1", 1}, {"2", "1", 2}, {"1", "2", 2}} {
		w := steptest.New(t)
		w.Write(t, "proc/sys/net/ipv4/conf/all/rp_filter", tt.all+"\n", 0o644)
		w.Write(t, "proc/sys/net/ipv4/conf/eth0/rp_filter", tt.eth0+"\n", 0o644)
		if got := reversePath(w.Env(), "eth0"); got != tt.want {
			t.Errorf("all %s, eth0 %s: %d, want %d", tt.all, tt.eth0, got, tt.want)
		}
	}
}
