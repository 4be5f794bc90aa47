package step

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// removeLinks deletes the network's interfaces and the veth pairs that are still
// attached to them. It uses ip instead of /sys, which shows the network namespace
// that it was mounted in.
func (c *Cleanup) removeLinks(ctx context.Context, env *Env) error {
	var errs []error
	for _, name := range c.links(ctx, env) {
		if _, err := env.Run.Run(ctx, Cmd{Argv: []string{"ip", "link", "show", "dev", name}}); err != nil {
			continue // not there
		}
		out, err := env.Run.Run(ctx, Cmd{Argv: []string{"ip", "-o", "link", "show", "master", name}})
		if err == nil {
			for _, port := range linkNames(string(out.Stdout)) {
				if strings.HasPrefix(port, "veth") {
					_, _ = env.Run.Run(ctx, Cmd{Argv: []string{"ip", "link", "delete", "dev", port}})
				}
			}
		}
		if _, err := env.Run.Run(ctx, Cmd{Argv: []string{"ip", "link", "delete", "dev", name}}); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// links returns the names of the interfaces to delete, for a prefix those that are there.
func (c *Cleanup) links(ctx context.Context, env *Env) []string {
	out := []string{"kube-ipvs0"}
	for _, p := range c.Interfaces {
		if !strings.HasSuffix(p, "*") {
			out = append(out, p)
			continue
		}
		res, err := env.Run.Run(ctx, Cmd{Argv: []string{"ip", "-o", "link", "show"}})
		if err != nil {
			continue
		}
		for _, name := range linkNames(string(res.Stdout)) {
			if matchesLink(p, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// matchesLink reports whether an interface has the name, or the prefix before a *.
func matchesLink(pattern, name string) bool {
	prefix, isPrefix := strings.CutSuffix(pattern, "*")
	return name == pattern || isPrefix && strings.HasPrefix(name, prefix)
}

// linkNames parses `ip -o link`: "7: veth1234@if2: <BROADCAST,…".
func linkNames(out string) []string {
	var names []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimSuffix(f[1], ":"), "@")
		names = append(names, name)
	}
	return names
}

// removeRoutes deletes the routes to pods of other hosts, which networks without a
// tunnel leave.
func (c *Cleanup) removeRoutes(ctx context.Context, env *Env) error {
	var errs []error
	for _, r := range ranges(c.PodCIDR) {
		argv := []string{"ip", "route", "flush", "root", r}
		if strings.Contains(r, ":") {
			argv = slices.Insert(argv, 1, "-6")
		}
		_, err := env.Run.Run(ctx, Cmd{Argv: argv})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removeVirtualServers deletes the virtual servers of services from IPVS. Those of
// others, such as keepalived, stay.
func (c *Cleanup) removeVirtualServers(ctx context.Context, env *Env) error {
	if c.ServiceCIDR == "" {
		return nil
	}
	out, err := env.Run.Run(ctx, Cmd{Argv: []string{"ipvsadm", "--save", "--numeric"}})
	if err != nil {
		env.Log.Info("virtual servers of IPVS are not listed, they stay until the next boot", "error", err)
		return nil
	}
	var errs []error
	for line := range strings.Lines(string(out.Stdout)) {
		// "-A -t 10.96.0.1:443 -s rr"
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "-A" || !c.matchesServer(f[2]) {
			continue
		}
		_, err := env.Run.Run(ctx, Cmd{Argv: []string{"ipvsadm", "--delete-service", f[1], f[2]}})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// matchesServer reports whether a virtual server is that of a service: its address is one
// of them, or its port a node port.
func (c *Cleanup) matchesServer(server string) bool {
	a, err := netip.ParseAddrPort(server)
	if err != nil {
		return false
	}
	for _, r := range ranges(c.ServiceCIDR) {
		if p, err := netip.ParsePrefix(r); err == nil && p.Contains(a.Addr()) {
			return true
		}
	}
	low, high, _ := strings.Cut(c.NodePorts, "-")
	from, err := strconv.ParseUint(low, 10, 16)
	to, err2 := strconv.ParseUint(high, 10, 16)
	return err == nil && err2 == nil && from <= uint64(a.Port()) && uint64(a.Port()) <= to
}

// removeSets destroys the sets of kube-proxy and the pod network, after the rules that
// use them.
func (c *Cleanup) removeSets(ctx context.Context, env *Env) error {
	out, err := env.Run.Run(ctx, Cmd{Argv: []string{"ipset", "list", "-n"}})
	if err != nil {
		return nil // no ipset, or no sets in this kernel
	}
	var errs []error
	for _, name := range strings.Fields(string(out.Stdout)) {
		if c.matchesSet(name) {
			_, err := env.Run.Run(ctx, Cmd{Argv: []string{"ipset", "destroy", name}})
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// matchesSet reports whether kube-proxy or the pod network created a set. kube-router
// writes "inet6:" before the name of one for IPv6.
func (c *Cleanup) matchesSet(name string) bool {
	name = strings.TrimPrefix(name, "inet6:")
	return strings.HasPrefix(name, "KUBE-") ||
		slices.ContainsFunc(c.IPSets, func(p string) bool { return strings.HasPrefix(name, p) })
}
