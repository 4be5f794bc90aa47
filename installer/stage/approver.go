package stage

import (
	"github.com/offk8s/offk8s/installer/approver"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

const (
	approverName   = "offk8s-approver"
	approverConfig = kubeDir + "/offk8s-approver.json"
)

// approver adds the steps for the service that approves kubelets' requests for serving
// certificates. Every control plane runs it. Its program is the offk8s of the bundle, not
// the agent's, which changes with the operator's version.
func (l *list) approver(in Input, h manifests.Host) {
	program, err := in.file(h, "offk8s")
	if err != nil {
		l.fail(err)
		return
	}
	config, err := jsonConfig(approver.Config{
		Kubeconfig: approverConf, Nodes: inventory(in.Cluster.Nodes()), Isolation: in.isolation(),
	})
	l.fail(err)
	l.program(program, approverName)
	l.add(approverName+"-config", &step.File{Path: approverConfig, Content: config, Mode: 0o600})
	l.add(approverName+"-unit", approverDaemon().step(approverConf)).
		Why = "kubelets renew their serving certificates every year, and Kubernetes does not approve that"
}

func approverDaemon() daemon {
	return daemon{
		name: approverName, command: "approver", about: "approver of kubelets' serving certificates",
		after: []string{"kube-apiserver.service"}, flags: flags{"config": approverConfig},
		// It ends with 143 after SIGTERM.
		service: append([]string{"SuccessExitStatus=143"}, confined...),
	}
}

// inventory returns the nodes with the addresses that their certificates may contain.
func inventory(nodes []manifests.Host) []kube.NodeAddress {
	var out []kube.NodeAddress
	for _, n := range nodes {
		out = append(out, kube.NodeAddress{Name: n.Name, Address: n.Address, Second: n.SecondAddress})
	}
	return out
}

// isolation returns the isolation of namespaces, nil if the pod network does not enforce
// it.
func (in Input) isolation() *kube.Isolation {
	if !in.Lock.CNIRelease.Policies {
		return nil
	}
	if !in.isolated() {
		return &kube.Isolation{PodCIDR: in.Cluster.PodCIDRs()[0], Off: true}
	}
	exempt := in.ownNamespaces("kube-public", "kube-node-lease")
	return &kube.Isolation{PodCIDR: in.Cluster.PodCIDRs()[0], Exempt: exempt, FirstAddresses: in.Lock.CNIRelease.FirstAddress}
}

// isolated reports whether cluster.yaml asks for the isolation of namespaces.
func (in Input) isolated() bool { return in.Cluster.Network.Isolation != "" }

// approverRole allows the calls of the service: kubectl reads requests and updates
// their approval, for which Kubernetes 1.18 and later want a right on the signer too.
func approverRole(in Input) []table {
	const group = "certificates.k8s.io"
	rules := []table{
		{"apiGroups": []string{group}, "resources": []string{"certificatesigningrequests"}, "verbs": []string{"get", "list"}},
		{"apiGroups": []string{group}, "resources": []string{"certificatesigningrequests/approval"}, "verbs": []string{"update"}},
	}
	if in.Lock.Release.Features.CSRApproverRoles {
		rules = append(rules, table{
			"apiGroups": []string{group}, "resources": []string{"signers"}, "verbs": []string{"approve"},
			"resourceNames": []string{"kubernetes.io/kubelet-serving", "kubernetes.io/legacy-unknown"},
		})
	}
	if in.isolation() != nil {
		rules = append(
			rules, table{"apiGroups": []string{""}, "resources": []string{"namespaces", "nodes"}, "verbs": []string{"list"}},
			table{"apiGroups": []string{"networking.k8s.io"}, "resources": []string{"networkpolicies"}, "verbs": []string{"list", "create"}},
			table{
				"apiGroups": []string{"networking.k8s.io"}, "resources": []string{"networkpolicies"},
				"verbs": []string{"get", "patch", "delete"}, "resourceNames": []string{kube.IsolationPolicy},
			},
		)
	}
	return []table{
		{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": table{"name": "offk8s:approver"},
			"rules": rules,
		},
		clusterRoleBinding("offk8s:approver", "offk8s:approver", "User", pki.Approver),
	}
}
