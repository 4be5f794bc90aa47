package stage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Hosts and roles that leave cluster.yaml leave the cluster: pods are drained, members
// of etcd removed, hosts restored and nodes deleted, in that order and before anything
// else changes. The journals of the hosts know which there were.

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
	for _, m := range in.was() {
		if slices.ContainsFunc(in.Cluster.Hosts, func(h manifests.Host) bool { return h.Name == m.Name }) {
			continue
		}
		h := manifests.Host{Name: m.Name, Address: m.Address, SSH: manifests.SSH{
			Address: m.SSHAddress, Port: m.SSHPort, User: m.SSHUser, HostKey: m.SSHHostKey,
			KeyFile: in.Cluster.SSH.KeyFile, KnownHosts: in.Cluster.SSH.KnownHosts,
		}}
		for _, r := range m.Roles {
			h.Roles = append(h.Roles, manifests.Role(r))
		}
		out = append(out, h)
	}
	return out
}

// dropped returns the hosts that stay and had a role which they no longer have, as they
// were.
func (in Input) dropped() []manifests.Host {
	var out []manifests.Host
	for _, m := range in.was() {
		i := slices.IndexFunc(in.Cluster.Hosts, func(h manifests.Host) bool { return h.Name == m.Name })
		if i < 0 {
			continue
		}
		was := manifests.Host{Name: m.Name, Address: m.Address}
		lost := false
		for _, r := range m.Roles {
			was.Roles = append(was.Roles, manifests.Role(r))
			lost = lost || !in.Cluster.Hosts[i].HasRole(manifests.Role(r))
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
			SSHAddress: h.SSH.Address, SSHPort: h.SSH.Port, SSHUser: h.SSH.User, SSHHostKey: h.SSH.HostKey,
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

// exNodes returns the hosts that were nodes and are none any more.
func (in Input) exNodes() []manifests.Host {
	out := slices.Concat(Leaving(in), in.dropped())
	return slices.DeleteFunc(out, func(h manifests.Host) bool {
		return !h.IsNode() || slices.ContainsFunc(in.Cluster.Nodes(), func(n manifests.Host) bool { return n.Name == h.Name })
	})
}

// exMembers returns the hosts that were members of etcd and are none any more.
func (in Input) exMembers() []manifests.Host {
	members := in.Cluster.HostsWith(manifests.RoleEtcd)
	out := slices.Concat(Leaving(in), in.dropped())
	return slices.DeleteFunc(out, func(h manifests.Host) bool {
		return !h.HasRole(manifests.RoleEtcd) || slices.ContainsFunc(members, func(m manifests.Host) bool { return m.Name == h.Name })
	})
}

// staying returns the members of etcd that run now and stay.
func (in Input) staying() []manifests.Host {
	return slices.DeleteFunc(in.present(in.Cluster.HostsWith(manifests.RoleEtcd)), func(h manifests.Host) bool {
		return !in.runs(h, etcdClientPort)
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
	if ex := in.exMembers(); len(ex) > 0 {
		c.require(len(in.staying()) > 0, Check{
			Name: "etcd-stays", Found: strings.Join(hostNames(ex), ", ") + " leave and no member that runs stays", Want: "a member that stays",
			Hint: "keep one of them until new members have joined",
		})
	}
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

// drainSteps returns the steps that move pods away from nodes that leave. A node that
// cannot be reached cannot end its pods.
func drainSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "drain"}
	if !h.HasRole(manifests.RoleControlPlane) {
		return l.done()
	}
	for _, n := range in.present(in.exNodes()) {
		l.add(n.Name, &kube.Drain{Name: n.Name, Args: in.Lock.Release.Features.DrainArgs}).Why = "it is not in cluster.yaml any more"
	}
	return l.done()
}

// etcdLeaveSteps returns the step that removes members from etcd.
func etcdLeaveSteps(in Input, _ manifests.Host) ([]step.Item, error) {
	l := &list{stage: "etcdleave"}
	ex := in.exMembers()
	if len(ex) == 0 {
		return l.done()
	}
	leave := &step.EtcdLeave{EtcdClient: step.LocalEtcd()}
	for _, h := range ex {
		leave.PeerURLs = append(leave.PeerURLs, etcdURL(h, etcdPeerPort))
	}
	for _, h := range in.Cluster.HostsWith(manifests.RoleEtcd) {
		leave.Stay = append(leave.Stay, etcdURL(h, etcdClientPort))
	}
	l.add("members", leave).Why = strings.Join(hostNames(ex), ", ") + " are no members in cluster.yaml any more"
	return l.done()
}

// nodeGoneSteps returns the steps that delete nodes which have left.
func nodeGoneSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "nodegone"}
	if !h.HasRole(manifests.RoleControlPlane) {
		return l.done()
	}
	for _, n := range in.exNodes() {
		l.add(n.Name, &kube.NodeGone{Name: n.Name}).Why = "it is not in cluster.yaml any more"
	}
	return l.done()
}
