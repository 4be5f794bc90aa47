package step

import (
	"fmt"
	"net/netip"
	"strings"
)

// Lines returns the rules of the step for a firewall whose rules the administrator keeps:
// commands for the service "iptables", rules with their hook for "nftables".
func (f *Firewall) Lines(service string) []string {
	var line func(hook, direction string, v6 bool, nets []string, what match) string
	switch service {
	case "iptables":
		line = iptablesLine
	case "nftables":
		line = nftLine
	default:
		return nil
	}
	var out []string
	sources := [2][]string{}
	for _, s := range f.Sources {
		n, _ := parseNet(s)
		i := index(n)
		sources[i] = append(sources[i], n.String())
	}
	for i, nets := range sources {
		if len(nets) == 0 && (i == 1 || len(f.Sources) > 0) {
			continue
		}
		for _, m := range f.matches() {
			out = append(out, line("input", "s", i == 1, nets, m))
		}
	}
	for _, s := range f.Trusted {
		n, _ := parseNet(s)
		for _, at := range []struct{ hook, direction string }{{"input", "s"}, {"forward", "s"}, {"forward", "d"}} {
			out = append(out, line(at.hook, at.direction, index(n) == 1, []string{n.String()}, match{}))
		}
	}
	return out
}

// index returns 1 for IPv6, and 0 for IPv4.
func index(n netip.Prefix) int {
	if n.Addr().Is6() {
		return 1
	}
	return 0
}

// match is the traffic that a rule accepts: ports of a protocol, a protocol, or everything.
type match struct {
	proto  string
	ports  []string
	number int
}

func (f *Firewall) matches() []match {
	var out []match
	for _, proto := range []string{"tcp", "udp"} {
		m := match{proto: proto}
		for _, p := range f.Ports {
			if port, of, _ := splitPort(p); of == proto {
				m.ports = append(m.ports, port)
			}
		}
		if len(m.ports) > 0 {
			out = append(out, m)
		}
	}
	numbers := map[string]int{"igmp": 2, "ipip": 4, "gre": 47, "esp": 50, "ah": 51, "vrrp": 112}
	for _, p := range f.Protocols {
		out = append(out, match{number: numbers[p]})
	}
	return out
}

func iptablesLine(hook, direction string, v6 bool, nets []string, m match) string {
	w := []string{"iptables", "-I", strings.ToUpper(hook)}
	if v6 {
		w[0] = "ip6tables"
	}
	if len(nets) > 0 {
		w = append(w, "-"+direction, strings.Join(nets, ","))
	}
	switch {
	case m.proto != "":
		w = append(w, "-p", m.proto, "-m multiport --dports", strings.ReplaceAll(strings.Join(m.ports, ","), "-", ":"))
	case m.number > 0:
		w = append(w, "-p", fmt.Sprint(m.number))
	}
	return strings.Join(append(w, "-j ACCEPT"), " ")
}

func nftLine(hook, direction string, v6 bool, nets []string, m match) string {
	w := []string{hook + ":"}
	if len(nets) > 0 {
		family := "ip"
		if v6 {
			family = "ip6"
		}
		w = append(w, family, direction+"addr {", strings.Join(nets, ", "), "}")
	}
	switch {
	case m.proto != "":
		w = append(w, m.proto, "dport {", strings.Join(m.ports, ", "), "}")
	case m.number > 0:
		w = append(w, "meta l4proto", fmt.Sprint(m.number))
	}
	return strings.Join(append(w, "accept"), " ")
}
