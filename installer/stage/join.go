package stage

import (
	"maps"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// joinSteps returns the steps on the control plane after all kubelets have started:
// they wait for the nodes to register and to serve TLS, set their labels and taints,
// and remove the token.
func joinSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "join"}
	if !h.HasRole(manifests.RoleControlPlane) {
		return l.done()
	}
	nodes := others(in.present(in.Cluster.Nodes()), h)
	l.add("registered", &kube.Nodes{Names: in.nodeNames()}).Awaits = nodes
	it := l.add("serving-certificates", &kube.ServingCertificates{
		Nodes: inventory(in.present(in.Cluster.Nodes())), CAFile: kubeCA,
	})
	it.Why, it.Awaits = "logs and exec use TLS that the API server verifies", nodes
	for _, n := range in.present(in.Cluster.Nodes()) {
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
			// A kubelet is not allowed to set these labels on its node.
			l.add("node-"+n.Name, &kube.Node{Name: n.Name, Labels: labels, Taints: taints})
		}
	}
	l.add("no-token", &kube.TokenGone{}).Why = "the token is only for joining"
	return l.done()
}
