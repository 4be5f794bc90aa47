package stage

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/probe"
)

// dials returns what the hosts dial if everybody listens, as "node-1 tcp 10.0.0.11:6443".
func dials(in Input) (out []string) {
	in.Answers = map[string][]probe.Answer{}
	for name, list := range Listeners(in) {
		for _, p := range list {
			in.Answers[name] = append(in.Answers[name], probe.Answer{Probe: p})
		}
	}
	for name, list := range Dials(in) {
		for _, p := range list {
			out = append(out, fmt.Sprintf("%s %s %s", name, p.Protocol, p.Target))
		}
	}
	slices.Sort(out)
	return out
}

func TestWays(t *testing.T) {
	edit := func(in *Input, host string, change func(*facts.Facts)) {
		f := in.Facts[host]
		change(&f)
		in.Facts[host] = f
	}
	all := []string{
		"cp-1 tcp 10.0.0.12:10250", "cp-1 tcp 10.0.0.12:2379", "cp-1 tcp 10.0.0.12:2380", "cp-1 tcp 10.0.0.13:10250", "cp-1 tcp 10.0.0.13:2379",
		"cp-1 tcp 10.0.0.13:2380", "cp-1 tcp 10.0.0.3:8443", "cp-1 udp 10.0.0.12:8472", "cp-1 udp 10.0.0.13:8472",
		"node-1 tcp 10.0.0.11:2379", "node-1 tcp 10.0.0.11:2380", "node-1 tcp 10.0.0.11:6443", "node-1 tcp 10.0.0.13:2379", "node-1 tcp 10.0.0.13:2380",
		"node-1 tcp 10.0.0.3:8443", "node-1 udp 10.0.0.11:123", "node-1 udp 10.0.0.11:8472", "node-1 udp 10.0.0.13:8472",
		"node-2 tcp 10.0.0.11:2379", "node-2 tcp 10.0.0.11:2380", "node-2 tcp 10.0.0.11:6443", "node-2 tcp 10.0.0.12:2379", "node-2 tcp 10.0.0.12:2380",
		"node-2 tcp 10.0.0.3:8443", "node-2 udp 10.0.0.11:123", "node-2 udp 10.0.0.11:8472", "node-2 udp 10.0.0.12:8472",
	}
	without := func(parts ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(s string) bool {
			return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(s, p) })
		})
	}
	installed := func(in *Input) {
		for name := range in.Facts {
			edit(in, name, ours)
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*Input)
		want   []string
	}{
		{"first installation", func(*Input) {}, all},
		{"it runs", installed, nil},
		{"it runs, doctor", func(in *Input) { installed(in); in.Thorough = true }, all},
		{"one is new", func(in *Input) {
			installed(in)
			edit(in, "node-2", func(f *facts.Facts) { f.Installed = nil })
		}, slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !strings.HasPrefix(s, "node-2") && !strings.Contains(s, "10.0.0.13") })},
		{"one is away", func(in *Input) { in.Away = map[string]bool{"node-2": true} }, without("node-2 ", "10.0.0.13")},
		{"one has another address", func(in *Input) { edit(in, "node-2", func(f *facts.Facts) { f.Addresses = nil }) }, without("node-2 ", "10.0.0.13")},
		{"a firewall is yet to be opened", func(in *Input) { edit(in, "node-2", func(f *facts.Facts) { f.Firewall = "firewalld" }) }, without("10.0.0.13")},
		{"rules of the administrator", func(in *Input) { edit(in, "node-2", func(f *facts.Facts) { f.Firewall = "nftables" }) }, all},
		{"a firewall that install leaves alone", func(in *Input) {
			in.Cluster.HostPrep.Skip = []string{"firewall"}
			edit(in, "node-2", func(f *facts.Facts) { f.Firewall = "firewalld" })
		}, all},
		{"a firewall that is open", func(in *Input) {
			installed(in)
			in.Thorough = true
			edit(in, "node-2", func(f *facts.Facts) { f.Firewall = "firewalld" })
		}, all},
		{"alone", func(in *Input) { in.Alone.Host = "node-1" }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := testInput(t, "1.36")
			tt.change(&in)
			if got := dials(in); !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// Balancers reach each other with VRRP while nothing runs that would get the packets.
func TestWaysOfBalancers(t *testing.T) {
	in := balancedInput(t)
	got := dials(in)
	for _, want := range []string{"lb-1 vrrp 10.0.0.22", "lb-1 tcp 10.0.0.11:6443", "node-1 tcp 10.0.0.21:6443"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, strings.Join(got, "\n"))
		}
	}
	for name, f := range in.Facts {
		ours(&f)
		in.Facts[name] = f
	}
	in.Thorough = true
	if got := strings.Join(dials(in), "\n"); strings.Contains(got, "vrrp") || !strings.Contains(got, "node-1 tcp 10.0.0.21:6443") {
		t.Errorf("on a cluster that runs:\n%s", got)
	}
}

// Where another program has the port, packets are not answered, but connections are.
func TestBusy(t *testing.T) {
	in := testInput(t, "1.36")
	in.Answers = map[string][]probe.Answer{"node-2": {}}
	for _, p := range Listeners(in)["node-2"] {
		in.Answers["node-2"] = append(in.Answers["node-2"], probe.Answer{Probe: p, Busy: true})
	}
	for _, list := range Dials(in) {
		for _, p := range list {
			if p.Protocol != "tcp" {
				t.Errorf("dials %+v", p)
			}
		}
	}
	if n := len(Dials(in)["cp-1"]); n != 4 { // and the mirror
		t.Errorf("dials %d ports, want 4", n)
	}
}

func TestReachable(t *testing.T) {
	answer := func(protocol, target, err string) probe.Answer {
		return probe.Answer{Probe: probe.Probe{Kind: probe.Dial, Protocol: protocol, Target: target}, Error: err}
	}
	runChecks(t, []checkCase{
		{"all", "", func(in *Input, _ *facts.Facts) {
			in.Answers = map[string][]probe.Answer{"node-1": {answer("tcp", "10.0.0.11:6443", ""), answer("udp", "10.0.0.13:8472", "")}}
		}, "reachable", Pass, "2 of 2 ports", ""},
		{"not all", "", func(in *Input, _ *facts.Facts) {
			in.Answers = map[string][]probe.Answer{"node-1": {
				answer("tcp", "10.0.0.11:6443", ""), answer("tcp", "10.0.0.13:2380", "connection refused"), answer("udp", "10.0.0.13:8472", "no answer"),
			}}
		}, "reachable", Fail, "1 of 3 ports of other hosts; not node-2 2380/tcp: connection refused, node-2 8472/udp: no answer", "requirements.md"},
		{"ignored", "", func(in *Input, _ *facts.Facts) {
			in.Cluster.HostPrep.IgnorePreflight = []string{"reachable"}
			in.Answers = map[string][]probe.Answer{"node-1": {answer("udp", "10.0.0.13:8472", "no answer")}}
		}, "reachable", Warn, "0 of 1", ""},
		{"behind a firewall", "", func(in *Input, _ *facts.Facts) {
			f := in.Facts["node-2"]
			f.Firewall = "ufw"
			in.Facts["node-2"] = f
			in.Answers = map[string][]probe.Answer{"node-1": {answer("tcp", "10.0.0.11:6443", "")}}
		}, "reachable", Pass, "1 of 1 ports of other hosts; 3 not tried", ""},
		{"mirror", "", func(in *Input, _ *facts.Facts) {
			in.Answers = map[string][]probe.Answer{"node-1": {answer("tcp", "10.0.0.3:8443", "no answer")}}
		}, "mirror-reachable", Fail, "no answer", "mirror.url"},
		{"one of two mirrors", "", func(in *Input, _ *facts.Facts) {
			in.Cluster.Mirror.URL, in.Cluster.Mirror.URLs = "", []string{"https://10.0.0.3:8443", "https://10.0.0.4:8443"}
			in.Answers = map[string][]probe.Answer{"node-1": {answer("tcp", "10.0.0.3:8443", ""), answer("tcp", "10.0.0.4:8443", "no answer")}}
		}, "mirror-reachable", Warn, "10.0.0.4:8443: no answer", "mirror.url"},
		{"none of two mirrors", "", func(in *Input, _ *facts.Facts) {
			in.Cluster.Mirror.URL, in.Cluster.Mirror.URLs = "", []string{"https://10.0.0.3:8443", "https://10.0.0.4:8443"}
			in.Answers = map[string][]probe.Answer{"node-1": {answer("tcp", "10.0.0.3:8443", "refused"), answer("tcp", "10.0.0.4:8443", "no answer")}}
		}, "mirror-reachable", Fail, "10.0.0.3:8443: refused; 10.0.0.4:8443: no answer", "mirror.url"},
		{"mirror answers", "", func(in *Input, _ *facts.Facts) {
			in.Answers = map[string][]probe.Answer{"node-1": {answer("tcp", "10.0.0.3:8443", "")}}
		}, "mirror-reachable", Pass, "10.0.0.3:8443", ""},
	})
	for url, want := range map[string]string{"https://m": "m:443", "http://m/": "m:80", "https://[fd00::1]:8443": "[fd00::1]:8443"} {
		in := testInput(t, "1.36")
		in.Cluster.Mirror.URL = url
		if got := in.mirrorTargets(); !slices.Equal(got, []string{want}) {
			t.Errorf("%q: %q, want %q", url, got, want)
		}
	}
}
