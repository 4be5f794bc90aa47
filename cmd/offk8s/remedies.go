package main

import (
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// remedy is the hint for steps that fail. An empty stage, kind or id matches all.
type remedy struct {
	stage, kind string
	id          string // a part of it
	hint        string // HOST and UNIT stand for those of the step
}

// remedies has the hints for failed steps. The first match wins.
var remedies = []remedy{
	{id: "mirror-reachable", hint: mirrorHint},
	{kind: "artifact", hint: mirrorHint},
	{kind: "image", hint: mirrorHint + "; offk8s logs HOST containerd shows its side"},
	{kind: "packages", hint: "the packages come from the mirror alone: check that HOST reaches it, and that no other package manager runs on HOST"},
	{stage: "time", kind: "wait", hint: "chronyc sources on HOST shows its time sources: are they up, and is 123/udp open to them?"},
	{kind: "endpoint", hint: endpointHint},
	{stage: "loadbalancer", id: "gate", hint: "offk8s logs HOST haproxy shows which API servers are ready, and why others are not"},
	{kind: "etcd-quorum", hint: etcdHint},
	{stage: "etcd", kind: "unit", hint: etcdHint},
	{stage: "etcd", kind: "wait", hint: etcdHint},
	{stage: "quorum", kind: "wait", hint: etcdHint},
	{stage: "controlplane", id: "/healthy", hint: "offk8s logs HOST kube-apiserver shows why; it needs etcd: is 2379/tcp open to the etcd hosts?"},
	{id: "kubelet-certificate", hint: "offk8s logs HOST kubelet shows why; can HOST reach the endpoint of the API?"},
	{stage: "controlplane", kind: "wait", hint: unitHint},
	{stage: "node", kind: "wait", hint: unitHint},
	{kind: "unit", hint: unitHint},
	{kind: "kube-nodes", hint: nodeHint},
	{kind: "kube-csr", hint: nodeHint},
	{kind: "present", hint: "the log above is of the pod that makes the network of HOST; without one, offk8s logs HOST kubelet shows why it did not start"},
	{kind: "kube-rollout", hint: "kubectl get pods -A -o wide shows the pods and their nodes; offk8s logs NODE shows the kubelet and containerd there"},
	{kind: "kube-smoke", hint: "pods do not reach each other: is the port of the pod network open between all nodes (flannel: 8472/udp), and does each node's address in cluster.yaml belong to the interface that reaches the others?"},
	{kind: "firewall", hint: "hostPreparation.skip: [firewall] leaves the firewall alone; then open the ports by hand"},
}

const (
	mirrorHint = "can HOST reach the mirror? check mirror.url, the firewalls, and that offk8s serve runs"
	// For both kinds of balancers: one that is external has no log here.
	endpointHint = "the load balancer has to pass TLS through (TCP) to port 6443 of every control plane, to those whose GET /readyz over HTTPS with a client certificate answers 200; " +
		"docs/load-balancers.md says more, and offk8s logs HOST haproxy shows the state of a balancer of the cluster. " +
		"If it leads a host always to the same control plane, set hostPreparation.ignorePreflight: [endpoint]"
	etcdHint = "offk8s logs HOST etcd shows why; is 2380/tcp open between the etcd hosts?"
	unitHint = "offk8s logs HOST UNIT shows why"
	nodeHint = "offk8s logs NODE kubelet shows why, for the node that is named; can it reach the endpoint of the API?"
	again    = "; then run the same command again, it continues where it stopped"
)

// explain adds the hint for the first step that failed to the error of a run, unless
// the error has a class of its own.
func explain(err error, r *installer.Report, c *manifests.Cluster) error {
	if err == nil {
		return nil
	}
	if code, _ := classify(err); code != exitPartial {
		return err
	}
	for _, h := range r.Hosts {
		i := slices.IndexFunc(h.Steps, func(s installer.StepReport) bool { return s.State == step.Failed })
		if i < 0 {
			continue
		}
		if hint := remedyFor(h.Host, h.Steps[i], c); hint != "" {
			return withHint(err, "%s", hint+again)
		}
		return err
	}
	return err
}

// remedyFor returns the hint for a failed step, "" if there is none.
func remedyFor(host string, s installer.StepReport, c *manifests.Cluster) string {
	for _, r := range remedies {
		if r.stage != "" && r.stage != s.Stage || r.kind != "" && r.kind != s.Kind || !strings.Contains(s.ID, r.id) {
			continue
		}
		unit := unitOf(host, s, c)
		if unit == "" && strings.Contains(r.hint, "UNIT") {
			return "" // of another program, such as chrony
		}
		return strings.NewReplacer("HOST", host, "UNIT", unit).Replace(r.hint)
	}
	return ""
}

// unitOf returns the unit of offk8s that a step is about, "" if there is none.
func unitOf(host string, s installer.StepReport, c *manifests.Cluster) string {
	h, err := findHost(c, host)
	if err != nil {
		return ""
	}
	for _, u := range stage.Units(c, h) {
		if strings.Contains(s.ID, u) || strings.Contains(s.Describe, "unit "+u+".service") {
			return u
		}
	}
	return ""
}
