package stage

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// A first installation starts the services of all hosts at the same time. If services
// of the cluster run already, they restart after each other, and gates make sure that
// the cluster goes on.

// someAtATime is how many nodes may be changed at the same time, after the first.
const someAtATime = 4

// runs reports whether a service of this cluster listens on a TCP port of the host.
func (in Input) runs(h manifests.Host, port string) bool {
	n, err := strconv.Atoi(port)
	f := in.Facts[h.Name]
	return err == nil && f.Installed != nil && f.ListensOn("tcp", n)
}

// anyRuns reports whether one of the hosts runs the service.
func (in Input) anyRuns(hosts []manifests.Host, port string) bool {
	return slices.ContainsFunc(hosts, func(h manifests.Host) bool { return in.runs(h, port) })
}

// present returns the hosts that are not away.
func (in Input) present(hosts []manifests.Host) []manifests.Host {
	return slices.DeleteFunc(slices.Clone(hosts), func(h manifests.Host) bool { return in.Away[h.Name] })
}

// others returns the names of the hosts without h.
func others(hosts []manifests.Host, h manifests.Host) []string {
	var out []string
	for _, x := range hosts {
		if x.Name != h.Name {
			out = append(out, x.Name)
		}
	}
	return out
}

func hostNames(hosts []manifests.Host) []string { return others(hosts, manifests.Host{}) }

func gate(on []string, id string, s step.Step) []Gate {
	if len(on) == 0 {
		return nil
	}
	return []Gate{{On: on, Item: step.Item{ID: id, Step: s}}}
}

// leaders returns the hosts that can work with the Kubernetes API.
func leaders(in Input) []manifests.Host { return in.Cluster.HostsWith(manifests.RoleControlPlane) }

// apiAnswers is the gate of a leader: its API server answers.
func apiAnswers(_ Input, h manifests.Host) []Gate {
	return gate([]string{h.Name}, "gate/api", &kube.Healthy{Timeout: step.Duration(30 * time.Second)})
}

func controlPlanesAtATime(in Input) int {
	if in.anyRuns(leaders(in), manifests.DefaultAPIPort) {
		return 1
	}
	return 0
}

// controlPlanes returns the control planes in the order of their turn: those that do not
// run come first, since they disturb nobody and the others may restart only beside them.
func controlPlanes(in Input) []manifests.Host {
	return in.downFirst(leaders(in), manifests.DefaultAPIPort)
}

// controlPlaneBefore requires another API server before one that runs may restart. A
// single control plane has none; its pods go on without it.
func controlPlaneBefore(in Input, h manifests.Host) []Gate {
	if !in.runs(h, manifests.DefaultAPIPort) {
		return nil
	}
	other := &kube.Healthy{Timeout: step.Duration(30 * time.Second)}
	on := others(in.upFirst(in.present(leaders(in)), manifests.DefaultAPIPort), h)
	if in.Alone.Host != "" && len(on) > 0 {
		other.Servers, on = in.apiURLs(on), []string{h.Name}
	}
	return gate(on, "gate/other-api", other)
}

func etcdAtATime(in Input) int {
	if len(in.etcdNow()) > 0 {
		return 1
	}
	return 0
}

// etcdHosts returns the members in the order of their turn: those that do not run come
// first, since the others may restart only if these run.
func etcdHosts(in Input) []manifests.Host {
	return in.downFirst(in.Cluster.HostsWith(manifests.RoleEtcd), etcdClientPort)
}

// downFirst sorts hosts: those that do not listen on the port come first.
func (in Input) downFirst(hosts []manifests.Host, port string) []manifests.Host {
	out := slices.Clone(hosts)
	slices.SortStableFunc(out, func(a, b manifests.Host) int {
		x, y := in.runs(a, port), in.runs(b, port)
		switch {
		case x == y:
			return 0
		case y:
			return -1
		}
		return 1
	})
	return out
}

// upFirst sorts hosts: those that listen on the port come first.
func (in Input) upFirst(hosts []manifests.Host, port string) []manifests.Host {
	up := func(h manifests.Host) bool { return in.runs(h, port) }
	down := slices.DeleteFunc(slices.Clone(hosts), up)
	return append(slices.DeleteFunc(slices.Clone(hosts), func(h manifests.Host) bool { return !up(h) }), down...)
}

// etcdBefore requires a quorum without the member. A cluster of one or two members
// has none without it: there the others must be healthy. A member that joins needs the
// quorum of those that are members already. Members that will leave count until then.
func etcdBefore(in Input, h manifests.Host) []Gate {
	members := slices.Concat(in.Cluster.HostsWith(manifests.RoleEtcd), in.etcdLeavers())
	if now := in.etcdMembers(); now != nil && !listed(now, h) {
		members = slices.DeleteFunc(members, func(x manifests.Host) bool { return !listed(now, x) })
	}
	rest := slices.DeleteFunc(slices.Clone(members), func(x manifests.Host) bool { return x.Name == h.Name })
	q := &step.EtcdQuorum{EtcdClient: step.LocalEtcd(), Need: min(len(members)/2+1, len(rest))}
	for _, x := range rest {
		q.Members = append(q.Members, etcdURL(x, etcdClientPort))
	}
	// Those that do not run yet have had their turn when a member that runs has its own.
	on := in.downFirst(in.present(rest), etcdClientPort)
	slices.Reverse(on)
	if in.Alone.Host != "" && len(rest) > 0 {
		on = []manifests.Host{h}
	}
	return gate(hostNames(on), "gate/quorum-without-"+h.Name, q)
}

// listed reports whether a host is among the members of etcd.
func listed(members []step.EtcdMember, h manifests.Host) bool {
	return slices.ContainsFunc(members, func(m step.EtcdMember) bool {
		return slices.Contains(m.PeerURLs, etcdURL(h, etcdPeerPort))
	})
}

// etcdAfter requires that the member has come back.
func etcdAfter(in Input, h manifests.Host) []Gate {
	return gate([]string{h.Name}, "gate/healthy", memberHealthy(h))
}

const kubeletPort = "10250"

func nodesAtATime(in Input) int {
	if in.anyRuns(in.Cluster.Nodes(), kubeletPort) {
		return someAtATime
	}
	return 0
}

// nodeAfter requires that a node that ran before is ready again. A new one becomes
// ready only with its pod network.
func nodeAfter(in Input, h manifests.Host) []Gate {
	if !h.IsNode() || !in.runs(h, kubeletPort) {
		return nil
	}
	return gate(in.observers(leaders(in)), "gate/ready-"+h.Name, &kube.Nodes{Names: []string{h.Name}, Ready: true})
}

// Enough returns an error if the hosts that are there are too few to change the
// cluster: no control plane to work with the API, or no quorum of etcd.
func Enough(in Input) error {
	var errs []error
	if cp := leaders(in); len(cp) > 0 && len(in.present(cp)) == 0 {
		errs = append(errs, errors.New("no control plane can be reached"))
	}
	members := in.Cluster.HostsWith(manifests.RoleEtcd)
	if there, need := len(in.present(members)), len(members)/2+1; len(members) > 0 && there < need {
		errs = append(errs, fmt.Errorf("%d of %d etcd members can be reached, want %d for a quorum", there, len(members), need))
	}
	return errors.Join(errs...)
}
