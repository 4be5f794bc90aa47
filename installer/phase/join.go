package phase

import (
	"maps"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// joinSteps run on the control plane once all kubelets have been started: the
// nodes register, get their serving certificates, labels and taints, and the
// token that they joined with goes away.
func joinSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{phase: "join"}
	if !in.leads(h) {
		return l.done()
	}
	l.add("registered", &kube.Nodes{Names: in.nodeNames()})
	var nodes []kube.NodeAddress
	for _, n := range in.Cluster.Nodes() {
		nodes = append(nodes, kube.NodeAddress{Name: n.Name, Address: n.Address})
	}
	l.add("serving-certificates", &kube.ApproveCSRs{
		Nodes: nodes, CAFile: kubeCA,
	}).Why = "logs and exec go through TLS that the API server checks"
	for _, n := range in.Cluster.Nodes() {
		labels := maps.Clone(n.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		if n.HasRole(manifests.RoleControlPlane) {
			for _, k := range in.Lock.Release.Features.ControlPlaneLabels {
				labels[k] = ""
			}
		}
		if taints := nodeTaints(in, n); len(labels)+len(taints) > 0 {
			// A kubelet may not give itself these labels.
			l.add("node-"+n.Name, &kube.Node{Name: n.Name, Labels: labels, Taints: taints})
		}
	}
	l.add("no-token", &kube.TokenGone{}).Why = "a token is for joining only"
	return l.done()
}
