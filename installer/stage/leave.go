package stage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/manifests"
)

// Hosts and roles that leave cluster.yaml leave the cluster. Those that are gone do so
// first, since a member of etcd that is down may keep a new one from joining. Those that
// run do so when everything else is as cluster.yaml wants it: then new members have
// joined, API servers know them, and nodes have another way to the API. The steps are in
// leavesteps.go. The journals of the hosts know which hosts there were.

// was returns the hosts of the cluster as it was applied last.
func (in Input) was() []facts.Member {
	var newest *facts.Installed
	for _, h := range in.Cluster.Hosts {
		i := in.Facts[h.Name].Installed
		if i == nil || i.Cluster != in.Cluster.Name || len(i.Hosts) == 0 {
			continue
		}
		if newest == nil || i.Time.After(newest.Time) {
			newest = i
		}
	}
	if newest == nil {
		return nil
	}
	return newest.Hosts
}

// Leaving returns the hosts that were in the cluster and are not in cluster.yaml, with
// the key of the other hosts for connections.
func Leaving(in Input) []manifests.Host {
	var out []manifests.Host
	stay := in.byName()
	for _, m := range in.was() {
		if _, ok := stay[m.Name]; ok {
			continue
		}
		h := manifests.Host{Name: m.Name, Address: m.Address, SSH: manifests.SSH{
			Address: m.SSHAddress, Port: m.SSHPort, User: m.SSHUser, HostKey: m.SSHHostKey, ProxyJump: m.SSHJump,
			KeyFile: in.Cluster.SSH.KeyFile, KnownHosts: in.Cluster.SSH.KnownHosts,
		}}
		for _, r := range m.Roles {
			h.Roles = append(h.Roles, manifests.Role(r))
		}
		out = append(out, h)
	}
	return out
}

// byName returns the hosts of cluster.yaml.
func (in Input) byName() map[string]manifests.Host {
	out := map[string]manifests.Host{}
	for _, h := range in.Cluster.Hosts {
		out[h.Name] = h
	}
	return out
}

// dropped returns the hosts that stay and had a role which they no longer have, as they
// were.
func (in Input) dropped() []manifests.Host {
	var out []manifests.Host
	stay := in.byName()
	for _, m := range in.was() {
		now, ok := stay[m.Name]
		if !ok {
			continue
		}
		was := manifests.Host{Name: m.Name, Address: m.Address}
		lost := false
		for _, r := range m.Roles {
			was.Roles = append(was.Roles, manifests.Role(r))
			lost = lost || !now.HasRole(manifests.Role(r))
		}
		if lost {
			out = append(out, was)
		}
	}
	return out
}

// Members returns the hosts of the cluster as journals record them: as cluster.yaml
// has them, and with the hosts and roles that have yet to leave.
func Members(in Input) (members, leavers []facts.Member) {
	was := in.was()
	for _, h := range in.Cluster.Hosts {
		m := facts.Member{
			Name: h.Name, Address: h.Address, Local: h.Local,
			SSHAddress: h.SSH.Address, SSHPort: h.SSH.Port, SSHUser: h.SSH.User, SSHHostKey: h.SSH.HostKey, SSHJump: h.SSH.ProxyJump,
		}
		for _, r := range h.Roles {
			m.Roles = append(m.Roles, string(r))
		}
		members = append(members, m)
		m.Roles = slices.Clone(m.Roles)
		for _, old := range was {
			for _, r := range old.Roles {
				if old.Name == m.Name && !slices.Contains(m.Roles, r) {
					m.Roles = append(m.Roles, r)
				}
			}
		}
		leavers = append(leavers, m)
	}
	for _, old := range was {
		if !slices.ContainsFunc(members, func(m facts.Member) bool { return m.Name == old.Name }) {
			leavers = append(leavers, old)
		}
	}
	return members, leavers
}

// Records reports whether the journals of hosts with these roles record all hosts. An
// install needs a control plane and a quorum of etcd, so that it always finds one.
func Records(roles []string) bool {
	return slices.Contains(roles, string(manifests.RoleControlPlane)) || slices.Contains(roles, string(manifests.RoleEtcd))
}

// ex returns the hosts that had the role and have it no longer, as they were.
func (in Input) ex(has func(manifests.Host) bool) []manifests.Host {
	now := in.byName()
	return slices.DeleteFunc(slices.Concat(Leaving(in), in.dropped()), func(h manifests.Host) bool {
		n, stays := now[h.Name]
		return !has(h) || stays && has(n)
	})
}

func (in Input) exRole(r manifests.Role) []manifests.Host {
	return in.ex(func(h manifests.Host) bool { return h.HasRole(r) })
}

// exNodes returns the hosts that were nodes and are none any more.
func (in Input) exNodes() []manifests.Host { return in.ex(manifests.Host.IsNode) }

// exMembers returns the hosts that were members of etcd and are none any more.
func (in Input) exMembers() []manifests.Host { return in.exRole(manifests.RoleEtcd) }

// etcdLeavers returns those of exMembers that run: they are members until others have joined.
func (in Input) etcdLeavers() []manifests.Host {
	return slices.DeleteFunc(in.present(in.exMembers()), func(h manifests.Host) bool { return !in.runs(h, etcdClientPort) })
}

// etcdNow returns the hosts whose etcd runs now, those that stay first.
func (in Input) etcdNow() []manifests.Host {
	stay := slices.DeleteFunc(in.present(in.Cluster.HostsWith(manifests.RoleEtcd)), func(h manifests.Host) bool {
		return !in.runs(h, etcdClientPort)
	})
	return append(stay, in.etcdLeavers()...)
}

// leadersNow returns the control planes whose API server runs now, those that stay first.
func (in Input) leadersNow() []manifests.Host {
	return slices.DeleteFunc(in.present(append(leaders(in), in.exRole(manifests.RoleControlPlane)...)), func(h manifests.Host) bool {
		return !in.runs(h, manifests.DefaultAPIPort)
	})
}

// checkLeaving refuses what would end the cluster, and hosts that leave and cannot be
// reached unless the user forgets them.
func checkLeaving(in Input) []Check {
	c := &checks{}
	if len(in.Facts) == 0 { // planned without the hosts
		return nil
	}
	if leaving := slices.Concat(Leaving(in), in.dropped()); in.Alone.Host != "" {
		c.require(len(leaving) == 0, Check{
			Name: "leaving", Found: strings.Join(hostNames(leaving), ", ") + " or roles of it leave the cluster", Want: "the same hosts and roles, or more",
			Hint: "take hosts and roles out with offk8s install over SSH",
		})
		return c.list
	}
	checkKnown(c, in)
	if ex := in.exMembers(); len(ex) > 0 {
		live, need := len(in.etcdNow()), len(in.etcdMembers())/2+1
		c.require(live >= need, Check{
			Name: "etcd-stays", Found: fmt.Sprintf("%s leave, and %d members run", strings.Join(hostNames(ex), ", "), live),
			Want: fmt.Sprintf("%d that run, for others to join them", need),
			Hint: "start them, or keep in cluster.yaml those that run",
		})
	}
	checkBalancerStays(c, in)
	for _, h := range Leaving(in) {
		c.host = h.Name
		c.require(!in.Away[h.Name] || in.Forget[h.Name], Check{
			Name: "leaving", Found: "it is not in cluster.yaml any more and cannot be reached", Want: "a connection, to restore it",
			Hint: "start it, or give --forget " + h.Name + " if it will never come back",
		})
	}
	c.host = ""
	for name := range in.Forget {
		c.require(slices.ContainsFunc(Leaving(in), func(h manifests.Host) bool { return h.Name == name }), Check{
			Name: "forget", Found: fmt.Sprintf("--forget %s", name), Want: "a host that was in the cluster and is not in cluster.yaml",
			Hint: "remove it from cluster.yaml first",
		})
	}
	slices.SortFunc(c.list, func(a, b Check) int { return cmp.Compare(a.Host+a.Found, b.Host+b.Found) })
	return c.list
}

// checkBalancerStays refuses to take all balancers that run at the same time. If none runs,
// it only warns, since others have to take their place.
func checkBalancerStays(c *checks, in Input) {
	ex := in.exRole(manifests.RoleLoadBalancer)
	if len(ex) == 0 || in.Cluster.Balancing() != manifests.BalanceHosts {
		return
	}
	check := Check{
		Name: "balancer-stays", Found: strings.Join(hostNames(ex), ", ") + " leave and no balancer that runs stays",
		Want: "one that stays", Hint: "replace one after the other: until a new one runs, nodes have no way to the API",
	}
	stays := in.anyRuns(in.Cluster.HostsWith(manifests.RoleLoadBalancer), in.Cluster.BalancerPort())
	if !in.anyRuns(in.present(ex), in.Cluster.BalancerPort()) {
		c.recommend(stays, check)
		return
	}
	some := &checks{ignore: in.Cluster.HostPrep.IgnorePreflight} // an outage may do no harm
	check.Hint += "; --ignore balancer-stays does it all the same"
	some.require(stays, check)
	c.list = append(c.list, some.list...)
}

// checkKnown refuses a cluster.yaml in which all control planes and members of etcd are
// new and workers belong to a cluster already: nobody knows its members, and a second
// etcd would begin without its data.
func checkKnown(c *checks, in Input) {
	if in.was() != nil {
		return
	}
	for _, h := range in.Cluster.Hosts {
		if installed(in, in.Facts[h.Name]) && in.Facts[h.Name].EtcdData {
			return
		}
	}
	var old []string
	for _, h := range in.Cluster.Nodes() {
		if installed(in, in.Facts[h.Name]) && in.runs(h, kubeletPort) {
			old = append(old, h.Name)
		}
	}
	c.require(len(old) == 0, Check{
		Name: "members-known", Found: "no control plane or etcd member of the cluster of " + strings.Join(old, ", "),
		Want: "one of them in cluster.yaml", Hint: "keep one until the new ones have joined; if all are lost, reset the others first",
	})
}
