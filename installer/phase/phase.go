// Package phase turns what is wanted (Cluster), what there is (Lock, Facts) and
// the roles of a host into steps: one file a phase, each a pure function.
//
//	Cluster + Lock + Facts ──Phase.Steps──▶ []step.Item per host
//	                       ──Phase.Gate───▶ []Check before any host is changed
//
// Nothing here talks to a host or reads a secret: steps name secrets by the
// references of installer/pki. Differences between Kubernetes minors come from
// the Release in the Lock, merged over a common set; the user's own arguments
// and configuration of cluster.yaml are merged last.
//
// Where things go on a host:
//
//	/usr/local/bin                 all programs (SELinux knows it as bin_t)
//	/opt/cni/bin, /etc/cni/net.d   CNI plugins and network
//	/etc/offk8s                    the mirror's CA and repository definitions
//	/etc/etcd/pki, /var/lib/etcd   etcd
//	/etc/kubernetes, …/pki         kubeconfigs, configuration, certificates
//	/etc/containerd                configuration, certs.d for the mirror
//	/var/lib/{kubelet,containerd}  state, emptied by reset
//
// A phase is done on all its hosts before the next one starts. Phases that wait
// for something of several hosts (quorum, join) come apart from those that
// start it, so that it does not matter how many hosts are worked on at a time.
package phase

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Input is everything a plan is made of.
type Input struct {
	Cluster *manifests.Cluster
	Lock    *manifests.Lock
	// Root is the digest of the bundle's index.json.
	Root digest.Digest
	// Facts by host name. Without those of a host (a plan made at the desk) it is
	// taken for a host of the bundle's first architecture and distribution.
	Facts map[string]facts.Facts
	// MirrorCA is the PEM certificate that the mirror is checked with; empty for
	// http or a certificate of a public authority.
	MirrorCA []byte
	// OpenPGPKey is the bundle's armoured key for repository metadata.
	OpenPGPKey []byte
}

// Phase is one intent over all hosts.
type Phase struct {
	Name  string // "etcd"
	Title string // what people read, "etcd members"
	// Gate, when set, is asked before any step of any phase runs.
	Gate func(Input) []Check
	// Steps returns what host h needs, in order; nil or none when the host has no
	// part in the phase.
	Steps func(Input, manifests.Host) ([]step.Item, error)
}

// All returns the phases in order. The first ones (connect, facts) are work of
// the runner and have no steps; balancers and addons have none yet either.
func All() []Phase {
	return []Phase{
		{Name: "connect", Title: "reach every host"},
		{Name: "facts", Title: "look at every host"},
		{Name: "preflight", Title: "hosts fit the plan", Gate: preflight},
		{Name: "mirror", Title: "everything needed is in the bundle", Gate: completeness},
		{Name: "host", Title: "operating system", Steps: hostSteps},
		{Name: "time", Title: "one time for all hosts", Steps: timeSteps},
		{Name: "packages", Title: "operating system packages", Steps: packageSteps},
		{Name: "pki", Title: "certificates and keys", Steps: pkiSteps},
		{Name: "etcd", Title: "etcd members", Steps: etcdSteps},
		{Name: "quorum", Title: "etcd has a quorum", Steps: quorumSteps},
		{Name: "loadbalancer", Title: "load balancers"},
		{Name: "runtime", Title: "container runtime", Steps: runtimeSteps},
		{Name: "images", Title: "container images", Steps: imageSteps},
		{Name: "controlplane", Title: "control plane", Steps: controlPlaneSteps},
		{Name: "node", Title: "kubelet and kube-proxy", Steps: nodeSteps},
		{Name: "join", Title: "nodes join the cluster", Steps: joinSteps},
		{Name: "network", Title: "pod network", Steps: networkSteps},
		{Name: "dns", Title: "cluster DNS", Steps: dnsSteps},
		{Name: "addons", Title: "addons"},
		{Name: "smoke", Title: "the cluster runs pods", Steps: smokeSteps},
	}
}

// list collects the steps of one phase on one host.
type list struct {
	phase string
	items []step.Item
	err   error
}

// add appends a step and returns its item, so that the caller can set Why or
// Unless; id is within the phase.
func (l *list) add(id string, s step.Step) *step.Item {
	l.items = append(l.items, step.Item{ID: l.phase + "/" + id, Step: s})
	return &l.items[len(l.items)-1]
}

// fail keeps the first error.
func (l *list) fail(err error) {
	if l.err == nil && err != nil {
		l.err = err
	}
}

// done returns the steps, each valid.
func (l *list) done() ([]step.Item, error) {
	if l.err != nil {
		return nil, fmt.Errorf("phase %q: %w", l.phase, l.err)
	}
	for _, it := range l.items {
		if err := it.Validate(); err != nil {
			return nil, fmt.Errorf("phase %q: %w", l.phase, err)
		}
	}
	return l.items, nil
}
