package stage

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/manifests"
)

// checkBetween checks what must differ between hosts.
func checkBetween(c *checks, in Input) {
	for _, u := range []struct {
		check Check
		of    func(manifests.Host, facts.Facts) string
		fails bool
	}{
		{
			Check{Name: "machine-id", Hint: "on the clones: rm /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup; then boot"},
			func(_ manifests.Host, f facts.Facts) string { return f.System.MachineID }, true,
		},
		{
			Check{Name: "mac", Hint: "give each virtual machine a network card of its own"},
			func(h manifests.Host, f facts.Facts) string { a, _ := f.Interface(h.Address); return a.MAC }, true,
		},
		{
			Check{Name: "product-uuid", Hint: "give each virtual machine a UUID of its own: programs tell nodes apart by it"},
			func(_ manifests.Host, f facts.Facts) string { return f.System.ProductUUID }, false,
		},
	} {
		of := map[string][]string{}
		for _, h := range in.Cluster.Hosts {
			v := u.of(h, in.Facts[h.Name])
			of[v] = append(of[v], h.Name)
		}
		for _, h := range in.Cluster.Hosts {
			v := u.of(h, in.Facts[h.Name])
			if v == "" {
				continue
			}
			c.host = h.Name
			check := u.check
			check.Found, check.Want = v, "one that no other host has"
			others := slices.DeleteFunc(slices.Clone(of[v]), func(n string) bool { return n == h.Name })
			if len(others) > 0 {
				check.Found += ", as " + strings.Join(others, ", ")
			}
			if u.fails {
				c.require(len(others) == 0, check)
			} else {
				c.recommend(len(others) == 0, check)
			}
		}
	}
	checkAddresses(c, in)
}

// checkAddresses checks that no host has the address of another one.
func checkAddresses(c *checks, in Input) {
	for _, h := range in.Cluster.Hosts {
		f, ok := in.Facts[h.Name]
		if !ok {
			continue
		}
		c.host = h.Name
		check := Check{Name: "address-twice", Found: "no address of another host", Want: "no address of another host"}
		for _, x := range in.Cluster.Hosts {
			if own, has := f.Interface(x.Address); has && x.Name != h.Name {
				check.Found = fmt.Sprintf("%s of %s, on %s", x.Address, x.Name, own.Interface)
				check.Hint = "correct the addresses in cluster.yaml, or remove it from the host"
			}
		}
		c.require(check.Hint == "", check)
	}
}

// wholeWorld is the length of prefixes that are no network of the site, as of a VPN that
// takes everything.
const wholeWorld = 8

// checkOverlaps checks that the host has no way to a network that overlaps with the ranges
// of pods and services: it would not reach that network any more, or not the pods.
func checkOverlaps(c *checks, in Input, f facts.Facts) {
	if installed(in, f) {
		return // the cluster's networks are among them
	}
	networks := map[string][]netip.Prefix{}
	for _, r := range f.Routes {
		networks[r.Interface] = append(networks[r.Interface], r.To)
	}
	for _, a := range f.Addresses {
		if a.Prefix.Addr().Is4() && !a.Prefix.Addr().IsLoopback() {
			networks[a.Interface] = append(networks[a.Interface], a.Prefix.Masked())
		}
	}
	var found []string
	for users, ranges := range map[string][]string{"pods": in.Cluster.PodCIDRs(), "services": in.Cluster.ServiceCIDRs()} {
		for _, r := range ranges {
			cidr, err := netip.ParsePrefix(r)
			if err != nil {
				continue // Cluster.Validate reports it
			}
			for name, list := range networks {
				for _, n := range list {
					if n.Overlaps(cidr) && n.Bits() >= wholeWorld {
						found = append(found, fmt.Sprintf("%s on %s overlaps with %s for %s", n, name, cidr, users))
					}
				}
			}
		}
	}
	slices.Sort(found)
	check := Check{Name: "networks", Found: "no overlap", Want: "no overlap with pods and services"}
	if len(found) > 0 {
		check.Found = strings.Join(slices.Compact(found), ", ")
		check.Hint = "set network.podCIDR or network.serviceCIDR to a range that the site does not use; docker0 is another docker's: remove it, or set its bip"
	}
	c.require(len(found) == 0, check)
}
