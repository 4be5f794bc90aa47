package stage

import (
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

const notInFile = "it is not in cluster.yaml any more"

func exBalancers(in Input) []manifests.Host { return in.exRole(manifests.RoleLoadBalancer) }

func exControlPlanes(in Input) []manifests.Host { return in.exRole(manifests.RoleControlPlane) }

// etcdGoneSteps returns the step that removes members from etcd which do not run.
func etcdGoneSteps(in Input, _ manifests.Host) ([]step.Item, error) {
	live := hostNames(in.etcdLeavers())
	gone := slices.DeleteFunc(in.exMembers(), func(h manifests.Host) bool { return slices.Contains(live, h.Name) })
	return etcdLeave("etcdgone", gone, in.etcdNow())
}

// etcdLeaveSteps returns the step that removes members from etcd which others replace.
func etcdLeaveSteps(in Input, _ manifests.Host) ([]step.Item, error) {
	if len(in.etcdLeavers()) == 0 {
		return nil, nil
	}
	return etcdLeave("etcdleave", in.exMembers(), in.Cluster.HostsWith(manifests.RoleEtcd))
}

func etcdLeave(stage string, leave, stay []manifests.Host) ([]step.Item, error) {
	l := &list{stage: stage}
	if len(leave) == 0 || len(stay) == 0 {
		return l.done()
	}
	s := &step.EtcdLeave{EtcdClient: step.LocalEtcd()}
	for _, h := range leave {
		s.PeerURLs = append(s.PeerURLs, etcdURL(h, etcdPeerPort))
	}
	for _, h := range stay {
		s.Stay = append(s.Stay, etcdURL(h, etcdClientPort))
	}
	l.add("members", s).Why = strings.Join(hostNames(leave), ", ") + " are no members in cluster.yaml any more"
	return l.done()
}

// etcdStay returns the members that remove others: those that run now come first.
func etcdStay(in Input) []manifests.Host {
	return in.upFirst(in.Cluster.HostsWith(manifests.RoleEtcd), etcdClientPort)
}

// nodeGoneSteps returns the steps that delete nodes whose hosts cannot be reached.
func nodeGoneSteps(in Input, _ manifests.Host) ([]step.Item, error) {
	l := &list{stage: "nodegone"}
	for _, n := range in.exNodes() {
		if in.Away[n.Name] {
			l.add(n.Name, &kube.NodeGone{Name: n.Name}).Why = notInFile
		}
	}
	return l.done()
}

// vipSteps returns the steps on balancers that leave. New ones do not know them, so that
// both would hold the virtual address.
func vipSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "vip"}
	if in.Cluster.Balancing() == manifests.BalanceHosts && slices.Contains(hostNames(exBalancers(in)), h.Name) {
		l.add(h.Name, &step.UnitStop{Names: []string{"keepalived.service"}}).Why = notInFile
	}
	return l.done()
}

// drainSteps returns the steps that move pods away from nodes that leave. A node that
// cannot be reached cannot end its pods.
func drainSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "drain"}
	if !h.HasRole(manifests.RoleControlPlane) {
		return l.done()
	}
	for _, n := range in.present(in.exNodes()) {
		l.add(n.Name, &kube.Drain{Name: n.Name, Args: in.Lock.Release.Features.DrainArgs}).Why = notInFile
	}
	return l.done()
}

// apiLeaveSteps returns the step that stops the daemons of a control plane that leaves.
// An API server that ends takes its address out of the Service of the API. It would fail
// when members of etcd leave that it still uses.
func apiLeaveSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "apileave"}
	if !slices.Contains(hostNames(exControlPlanes(in)), h.Name) {
		return l.done()
	}
	l.add("daemons", &step.UnitStop{Names: []string{
		approverName + ".service", "kube-scheduler.service", "kube-controller-manager.service", "kube-apiserver.service",
	}}).Why = "it is no control plane in cluster.yaml any more"
	return l.done()
}

// nodeLeaveSteps returns the steps that delete nodes which have been restored.
func nodeLeaveSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "nodeleave"}
	if !h.HasRole(manifests.RoleControlPlane) {
		return l.done()
	}
	for _, n := range in.present(in.exNodes()) {
		l.add(n.Name, &kube.NodeGone{Name: n.Name}).Why = notInFile
	}
	return l.done()
}

// neighbours returns the hosts that leave and run: until then, they and the others
// connect to each other.
func (in Input) neighbours() []manifests.Host {
	return slices.DeleteFunc(in.present(Leaving(in)), func(h manifests.Host) bool { return in.Facts[h.Name].Installed == nil })
}

// withNeighbours returns the hosts of cluster.yaml, and those that have to let new hosts in.
func (in Input) withNeighbours() []manifests.Host {
	if in.skips("firewall") {
		return in.Cluster.Hosts
	}
	return slices.Concat(in.Cluster.Hosts, in.neighbours())
}

// allAddresses returns the addresses of withNeighbours.
func (in Input) allAddresses() []string {
	out := in.addresses()
	for _, h := range in.neighbours() {
		out = append(out, h.Address)
	}
	return out
}

// closeSteps returns the firewall steps of the host stage without the hosts that left.
func closeSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "host"}
	if len(in.neighbours()) > 0 && !in.skips("firewall") {
		firewallSteps(l, in, h, in.addresses())
	}
	l.items = slices.DeleteFunc(l.items, func(it step.Item) bool {
		f, ok := it.Step.(*step.Firewall)
		return !ok || len(f.Sources) == 0
	})
	return l.done()
}
