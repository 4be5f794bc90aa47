// Package stage computes the steps of a host from the Cluster, the Lock, the facts of
// the hosts and the host's roles. Each stage is a pure function in a file of its name.
//
//	Cluster + Lock + Facts ──Stage.Steps───▶ []step.Item per host
//	                       ──Stage.Checks──▶ []Check before any host is changed
//	                       ──Stage.AtATime─▶ how many hosts at the same time
//	                       ──Stage.Before──▶ []Gate that must hold before a host is changed
//
// Nothing here connects to a host or reads a secret: steps name secrets by the
// references of installer/pki. Differences between Kubernetes minors come from the
// Release in the Lock, which is merged over a common set; arguments and configuration
// in cluster.yaml are merged last.
//
// Locations on a host:
//
//	/usr/local/bin                 links to all programs, which are in .offk8s (SELinux type bin_t)
//	/opt/cni/bin, /etc/cni/net.d   CNI plugins and network
//	/etc/offk8s                    the mirror's CA and repository definitions
//	/etc/etcd/pki, /var/lib/etcd   etcd
//	/etc/kubernetes, …/pki         kubeconfigs, configuration, certificates
//	/etc/haproxy, /etc/keepalived  configuration of load balancers
//	/etc/containerd                configuration, certs.d for the mirror
//	/var/lib/{kubelet,containerd}  state, emptied by reset
//
// A stage ends on all its hosts before the next one starts. If a step waits for
// several hosts (quorum, join), it is in a later stage than the steps that start
// them, so that the number of hosts in use at a time does not matter. If services
// of a stage run already, Stage.AtATime limits how many of them restart together.
package stage

import (
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Input is the input of a plan.
type Input struct {
	Cluster *manifests.Cluster
	Lock    *manifests.Lock
	// Root is the digest of the bundle's index.json.
	Root digest.Digest
	// Facts holds the facts by host name. A host without facts, in a plan made without
	// connections, is assumed to have the bundle's first architecture and distribution.
	Facts map[string]facts.Facts
	// Answers holds the answers to Probes by host name.
	Answers map[string][]probe.Answer
	// Thorough asks for answers on a cluster that runs too.
	Thorough bool
	// Away holds the hosts that cannot be reached, or that failed earlier in the run, by
	// name. The plan has no steps for them and waits for none of them.
	Away map[string]bool
	// Forget names hosts that left cluster.yaml and will never come back, so that nothing
	// has to be restored on them.
	Forget map[string]bool
	// Alone is set in the plan of a host that installs itself, as all hosts do: only the
	// facts of this host are known.
	Alone Alone
	// MirrorCA is the PEM certificate that verifies the mirror; empty for http, or if
	// the host trusts the mirror's authority anyway.
	MirrorCA []byte
	// OpenPGPKey is the bundle's armored key for repository metadata.
	OpenPGPKey []byte
	// StateCopies reports that control planes keep a sealed copy of the operator's state.
	StateCopies bool
}

// Stage is one intent over hosts.
type Stage struct {
	Name  string // "etcd"
	Title string // for users, "etcd members"
	// Checks, if set, returns the checks that run before the first step of any stage.
	Checks func(Input) []Check
	// Hosts returns the hosts of the stage; nil means all hosts in cluster.yaml.
	Hosts func(Input) []manifests.Host
	// AnyOf makes one host do the work for all: the first that is there and whose
	// gates hold. The steps are the same for every host.
	AnyOf bool
	// AtATime, if set, returns how many hosts may be changed at the same time; 0 means
	// all. The first is changed alone, and the stage ends at the first failure.
	AtATime func(Input) int
	// Before and After, if set, return the gates around the changes of a host. Before
	// holds for every AnyOf, both hold if AtATime limits the stage.
	Before, After func(Input, manifests.Host) []Gate
	// Steps returns the steps for a host in order, none if the stage does not concern it.
	Steps func(Input, manifests.Host) ([]step.Item, error)
	// Leaves marks the stages that take hosts and roles out of the cluster.
	Leaves bool
	// Again allows steps of an earlier stage in another form, which is then the wanted one.
	Again bool
	// Work says what happens on a host; the zero value applies Steps.
	Work Work
}

// Work is the kind of work of a stage on its hosts.
type Work string

// The kinds of work.
const (
	Apply Work = ""      // apply the steps
	Undo  Work = "undo"  // restore the state before offk8s
	Prune Work = "prune" // undo steps of earlier plans that this plan does not have
)

// Gate is an observation that must succeed before a host is changed, or after.
type Gate struct {
	// On lists the hosts that can make the observation; the first that is there does.
	On   []string  `json:"on"`
	Item step.Item `json:"item"`
}

// Operation is a thing to do with a cluster: stages in order.
type Operation struct {
	Name   string // "install"
	Stages []Stage
}

// Install makes the hosts what cluster.yaml describes. The installer itself does the
// work of the first two stages, connect and facts.
func Install() Operation {
	o := Operation{"install", []Stage{
		{Name: "connect", Title: "reach every host"},
		{Name: "facts", Title: "look at every host"},
		{Name: "preflight", Title: "hosts fit the plan", Checks: preflight},
		{Name: "mirror", Title: "everything needed is in the bundle", Checks: completeness},
		{
			Name: "etcdgone", Title: "members of etcd that are gone leave", Hosts: Input.etcdNow, AnyOf: true,
			Leaves: true, Checks: checkLeaving, Steps: etcdGoneSteps,
		},
		{
			Name: "nodegone", Title: "nodes that are gone are deleted", Hosts: Input.leadersNow, AnyOf: true,
			Before: apiAnswers, Steps: nodeGoneSteps, Leaves: true,
		},
		{Name: "vip", Title: "balancers that leave give up their address", Hosts: exBalancers, Steps: vipSteps, Leaves: true},
		{Name: "host", Title: "operating system", Hosts: Input.withNeighbours, Steps: hostSteps},
		{Name: "time", Title: "one time for all hosts", Steps: timeSteps},
		{Name: "packages", Title: "operating system packages", Steps: packageSteps},
		{Name: "pki", Title: "certificates and keys", Steps: pkiSteps},
		{
			Name: "etcd", Title: "etcd members", Hosts: etcdHosts, Steps: etcdSteps,
			AtATime: etcdAtATime, Before: etcdBefore, After: etcdAfter,
		},
		{Name: "quorum", Title: "etcd has a quorum", Steps: quorumSteps},
		{
			Name: "loadbalancer", Title: "load balancers", Hosts: balancers, Steps: loadBalancerSteps,
			AtATime: balancersAtATime, Before: balancerBefore, After: balancerAfter,
		},
		{Name: "runtime", Title: "container runtime", Steps: runtimeSteps, AtATime: nodesAtATime, After: nodeAfter},
		{Name: "images", Title: "container images", Steps: imageSteps},
		{
			Name: "controlplane", Title: "control plane", Hosts: controlPlanes, Steps: controlPlaneSteps,
			AtATime: controlPlanesAtATime, Before: controlPlaneBefore,
		},
		{Name: "access", Title: "access rules for nodes", AnyOf: true, Before: apiAnswers, Steps: accessSteps},
		{Name: "node", Title: "kubelet and kube-proxy", Steps: nodeSteps, AtATime: nodesAtATime, After: nodeAfter},
		{Name: "join", Title: "nodes join the cluster", AnyOf: true, Before: apiAnswers, Steps: joinSteps},
		{Name: "network", Title: "pod network", AnyOf: true, Before: apiAnswers, Steps: networkSteps},
		{Name: "nodenetwork", Title: "every node has its network", Steps: nodeNetworkSteps},
		{Name: "ready", Title: "nodes are ready", AnyOf: true, Before: apiAnswers, Steps: readySteps},
		{Name: "dns", Title: "cluster DNS", AnyOf: true, Before: apiAnswers, Steps: dnsSteps},
		{Name: "addons", Title: "addons", AnyOf: true, Before: apiAnswers, Steps: addonSteps},
		{Name: "drain", Title: "pods move away from nodes that leave", AnyOf: true, Before: apiAnswers, Steps: drainSteps, Leaves: true},
		{Name: "apileave", Title: "control planes that leave stop", Hosts: exControlPlanes, Steps: apiLeaveSteps, Leaves: true},
		{Name: "etcdleave", Title: "members of etcd leave", Hosts: etcdStay, AnyOf: true, Steps: etcdLeaveSteps, Leaves: true},
		{Name: "leave", Title: "hosts that leave are restored", Hosts: Leaving, Work: Undo, Leaves: true},
		{Name: "roles", Title: "roles that hosts had are undone", Hosts: Input.dropped, Work: Prune, Leaves: true},
		{Name: "nodeleave", Title: "nodes that left are deleted", AnyOf: true, Before: apiAnswers, Steps: nodeLeaveSteps, Leaves: true},
		{Name: "close", Title: "firewalls are closed for hosts that left", Steps: closeSteps, Again: true},
		{Name: "smoke", Title: "the cluster runs pods", AnyOf: true, Before: apiAnswers, Steps: smokeSteps},
		{Name: "prune", Title: "nothing else is left of earlier runs", Work: Prune},
	}}
	for i, s := range o.Stages {
		if s.Steps != nil {
			o.Stages[i].Steps = fitted(s.Steps)
		}
	}
	return o
}

// Reset restores the state that every host had before offk8s.
func Reset() Operation {
	return Operation{"reset", []Stage{{Name: "reset", Title: "restore what was there before", Work: Undo}}}
}

// list collects the steps of a stage on one host.
type list struct {
	stage string
	items []step.Item
	err   error
}

// add appends a step and returns its item, so that the caller can set Why or
// Unless; id is within the stage.
func (l *list) add(id string, s step.Step) *step.Item {
	l.items = append(l.items, step.Item{ID: l.stage + "/" + id, Step: s})
	return &l.items[len(l.items)-1]
}

// fail records an error; the first one counts.
func (l *list) fail(err error) {
	if l.err == nil && err != nil {
		l.err = err
	}
}

// done returns the steps after validating them, or the first error. The caller of
// Steps knows stage and host.
func (l *list) done() ([]step.Item, error) {
	if l.err != nil {
		return nil, l.err
	}
	for _, it := range l.items {
		if err := it.Validate(); err != nil {
			return nil, err
		}
	}
	return l.items, nil
}
