package stage

import (
	"slices"
	"strings"
)

const (
	auditPolicy = kubeDir + "/audit-policy.yaml"
	auditLog    = "/var/log/kubernetes/audit.log"
	admission   = kubeDir + "/admission.json"
)

// auditRules logs requests without their bodies, and leaves out the requests that
// components repeat all the time, except for what gives access: a stolen credential of a
// node shows when it reads Secrets.
const auditRules = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    resources:
      - group: ""
        resources: [secrets, serviceaccounts/token]
      - group: authentication.k8s.io
        resources: [tokenreviews]
  - level: None
    users: ["system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy"]
    verbs: [get, list, watch]
  - level: None
    userGroups: ["system:nodes"]
    verbs: [get, list, watch]
  - level: None
    nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/version", "/metrics"]
  - level: None
    resources:
      - group: coordination.k8s.io
        resources: [leases]
      - group: ""
        resources: [events]
  - level: Metadata
`

// podSecurity returns the configuration of admission plugins, which refuses pods that could
// take over their node outside of the namespaces of the cluster itself. The labels of a
// namespace set another level. It is empty for minors without PodSecurity.
func (in Input) podSecurity() (string, error) {
	version := in.Lock.Release.Features.PodSecurity
	if version == "" {
		return "", nil
	}
	levels := table{}
	for _, mode := range []string{"enforce", "audit", "warn"} {
		levels[mode], levels[mode+"-version"] = "baseline", "latest"
	}
	return jsonConfig(table{
		"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
		"plugins": []table{{"name": "PodSecurity", "configuration": table{
			"apiVersion": "pod-security.admission.config.k8s.io/" + version, "kind": "PodSecurityConfiguration",
			"defaults": levels, "exemptions": table{"namespaces": in.ownNamespaces()},
		}}},
	})
}

// ownNamespaces returns kube-system, more and the namespace of the pod network.
func (in Input) ownNamespaces(more ...string) []string {
	out := append([]string{"kube-system"}, more...)
	if ns := in.Lock.CNIRelease.ObjectNamespace(); !slices.Contains(out, ns) {
		out = append(out, ns)
	}
	return out
}

// kernelDefaults are the settings of the kernel that a kubelet otherwise makes by itself
// (pkg/kubelet/cm/container_manager_linux.go).
var kernelDefaults = map[string]string{
	"vm.overcommit_memory": "1", "vm.panic_on_oom": "0", "kernel.panic": "10", "kernel.panic_on_oops": "1",
	"kernel.keys.root_maxkeys": "1000000", "kernel.keys.root_maxbytes": "25000000",
}

// protectsKernel reports whether kubelets refuse other settings of the kernel: offk8s makes
// them, and cluster.yaml does not change them.
func (in Input) protectsKernel() bool {
	for k, v := range in.Cluster.HostPrep.Sysctls {
		if want, ok := kernelDefaults[strings.ReplaceAll(k, "/", ".")]; ok && v != want {
			return false
		}
	}
	return !in.skips("sysctl")
}
