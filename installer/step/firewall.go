package step

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Firewall opens ports in the host's firewall, firewalld or ufw, where one is
// active. It is never switched off, and without one there is nothing to do.
type Firewall struct {
	// Ports are "6443/tcp", "30000-32767/tcp", "8472/udp".
	Ports []string `json:"ports,omitempty"`
	// Sources are the addresses or networks that may come in; none means everybody.
	Sources []string `json:"sources,omitempty"`
	// Trusted are networks whose traffic is let in and forwarded whole: pods and services.
	Trusted []string `json:"trusted,omitempty"`
}

// Kind returns "firewall".
func (f *Firewall) Kind() string { return "firewall" }

// Describe lists ports and sources.
func (f *Firewall) Describe() string {
	var w []string
	if len(f.Ports) > 0 {
		w = append(w, "ports "+strings.Join(f.Ports, " "))
	}
	if len(f.Sources) > 0 {
		w = append(w, "from "+strings.Join(f.Sources, " "))
	}
	if len(f.Trusted) > 0 {
		w = append(w, "trusted "+strings.Join(f.Trusted, " "))
	}
	return "firewall " + strings.Join(w, ", ")
}

// Validate checks ports and addresses.
func (f *Firewall) Validate() error {
	var errs []error
	for _, p := range f.Ports {
		if _, _, err := splitPort(p); err != nil {
			errs = append(errs, err)
		}
	}
	for _, s := range append(append([]string{}, f.Sources...), f.Trusted...) {
		if _, err := parseNet(s); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// splitPort splits "30000-32767/tcp" into "30000-32767" and "tcp".
func splitPort(p string) (ports, proto string, err error) {
	ports, proto, _ = strings.Cut(p, "/")
	if proto != "tcp" && proto != "udp" {
		return "", "", fmt.Errorf("port %q: want number/tcp or number/udp", p)
	}
	from, to, ranged := strings.Cut(ports, "-")
	a, errA := strconv.ParseUint(from, 10, 16)
	b := a
	var errB error
	if ranged {
		b, errB = strconv.ParseUint(to, 10, 16)
	}
	if errA != nil || errB != nil || a == 0 || b < a {
		return "", "", fmt.Errorf("port %q: want 1 to 65535 or a range", p)
	}
	return ports, proto, nil
}

// parseNet parses an address or a network.
func parseNet(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("source %q: want an address or a network", s)
	}
	return p.Masked(), nil
}
