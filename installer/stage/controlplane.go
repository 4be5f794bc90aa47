package stage

import (
	"encoding/json"
	"maps"
	"strings"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// volumePlugins is the directory of FlexVolume drivers. The default is in
// /usr/libexec, where reset would leave it.
const volumePlugins = "/var/lib/kubelet/volume-plugins"

// tlsCiphers lists the cipher suites of TLS 1.2 with forward secrecy that both Go
// 1.12 (Kubernetes 1.16) and current Go support. Those of TLS 1.3 are fixed.
var tlsCiphers = []string{
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
}

// controlPlaneSteps returns the steps that start API server, controller manager and
// scheduler.
func controlPlaneSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "controlplane"}
	if !h.HasRole(manifests.RoleControlPlane) {
		return l.done()
	}
	l.programs(in, h, "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
	l.add("log", &step.Directory{Path: "/var/log/kubernetes", Mode: 0o700, Purge: true})
	l.add("audit-policy", &step.File{Path: auditPolicy, Content: auditRules, Mode: 0o600})
	if in.Alone.Host != "" && !h.HasRole(manifests.RoleEtcd) {
		it := l.add("etcd", etcdAnswers(in))
		it.Why, it.Awaits = "the API server needs it", hostNames(in.Cluster.HostsWith(manifests.RoleEtcd))
	}
	triggers := []string{auditPolicy, encryption, kubeCA}
	security, err := in.podSecurity()
	l.fail(err)
	if security != "" {
		l.add("admission", &step.File{Path: admission, Content: security, Mode: 0o600}).Why = "privileged pods are for the cluster itself"
		triggers = append(triggers, admission)
	}
	api := apiServer(in, h)
	l.add("kube-apiserver-unit", api.step(append(triggers,
		kubePKI+"/apiserver.crt", kubePKI+"/apiserver.key", kubePKI+"/apiserver-etcd-client.crt",
		kubePKI+"/apiserver-kubelet-client.crt", kubePKI+"/front-proxy-client.crt", kubePKI+"/front-proxy-ca.crt",
		kubePKI+"/etcd-ca.crt", kubePKI+"/service-account.key")...))
	l.add("healthy", &kube.Healthy{}).Why = "all later stages use it"
	l.add("kube-controller-manager-unit", controllerManager(in).step(managerConf, kubeCA, kubePKI+"/ca.key",
		kubePKI+"/service-account.key"))
	l.add("kube-scheduler-unit", scheduler(in).step(schedulerConf))
	l.add("kube-controller-manager-up", &step.Wait{URL: "tcp://127.0.0.1:10257", Text: "the controller manager listens"})
	l.add("kube-scheduler-up", &step.Wait{URL: "tcp://127.0.0.1:10259", Text: "the scheduler listens"})
	l.approver(in, h)
	return l.done()
}

// accessSteps returns the steps that create the access rules and the token with which
// nodes join.
func accessSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "access"}
	if !h.HasRole(manifests.RoleControlPlane) {
		return l.done()
	}
	objects, err := rbacObjects(in)
	l.fail(err)
	l.add("rbac", &kube.Apply{
		Objects: objects, Text: "access rules for nodes",
	}).Why = "kubelets may request certificates, the API server may connect to kubelets, administrators may do everything"
	l.add("token", &kube.Token{
		Ref: pki.RefToken, Nodes: in.nodeNames(), New: in.newNodes(), TTL: step.Duration(in.tokenLifetime()),
	}).Why = "nodes join with it"
	return l.done()
}

func apiServer(in Input, h manifests.Host) daemon {
	bind := "0.0.0.0"
	if strings.Contains(h.Address, ":") {
		bind = "::"
	}
	common := flags{
		"advertise-address": h.Address, "bind-address": bind, "secure-port": manifests.DefaultAPIPort,
		"allow-privileged": "true", "anonymous-auth": "false", "profiling": "false",
		"authorization-mode": "Node,RBAC", "enable-admission-plugins": "NodeRestriction",
		"enable-bootstrap-token-auth": "true",
		"client-ca-file":              kubeCA,
		"tls-cert-file":               kubePKI + "/apiserver.crt",
		"tls-private-key-file":        kubePKI + "/apiserver.key",
		"tls-min-version":             "VersionTLS12",
		"tls-cipher-suites":           strings.Join(tlsCiphers, ","),

		"etcd-servers":  strings.Join(in.etcdURLs(), ","),
		"etcd-cafile":   kubePKI + "/etcd-ca.crt",
		"etcd-certfile": kubePKI + "/apiserver-etcd-client.crt",
		"etcd-keyfile":  kubePKI + "/apiserver-etcd-client.key",

		"kubelet-certificate-authority":      kubeCA,
		"kubelet-client-certificate":         kubePKI + "/apiserver-kubelet-client.crt",
		"kubelet-client-key":                 kubePKI + "/apiserver-kubelet-client.key",
		"kubelet-preferred-address-types":    "InternalIP",
		"service-account-issuer":             "https://kubernetes.default.svc." + in.Cluster.DNSDomain(),
		"service-account-key-file":           kubePKI + "/service-account.pub",
		"service-account-signing-key-file":   kubePKI + "/service-account.key",
		"service-cluster-ip-range":           in.Cluster.ServiceCIDR(),
		"encryption-provider-config":         encryption,
		"audit-policy-file":                  auditPolicy,
		"audit-log-path":                     auditLog,
		"audit-log-maxage":                   "30",
		"audit-log-maxbackup":                "10",
		"audit-log-maxsize":                  "100",
		"requestheader-client-ca-file":       kubePKI + "/front-proxy-ca.crt",
		"requestheader-allowed-names":        pki.FrontProxyClient,
		"requestheader-extra-headers-prefix": "X-Remote-Extra-",
		"requestheader-group-headers":        "X-Remote-Group",
		"requestheader-username-headers":     "X-Remote-User",
		"proxy-client-cert-file":             kubePKI + "/front-proxy-client.crt",
		"proxy-client-key-file":              kubePKI + "/front-proxy-client.key",
	}
	if in.Lock.Release.Features.PodSecurity != "" {
		common["admission-control-config-file"] = admission
	}
	args := mergeFlags(in, "kube-apiserver", common, nil)
	if len(leaders(in)) == 1 {
		delete(args, "goaway-chance") // moves connections to other API servers
	}
	maps.Copy(args, in.Cluster.APIServer.Args)
	return daemon{
		name: "kube-apiserver", about: "Kubernetes API server", kind: "notify",
		after:   []string{"etcd.service"},
		flags:   args,
		service: append([]string{"TimeoutStartSec=180", "TimeoutStopSec=10", "LimitNOFILE=65536", lastToDie}, confined...),
	}
}

func controllerManager(in Input) daemon {
	common := flags{
		"kubeconfig": managerConf, "authentication-kubeconfig": managerConf, "authorization-kubeconfig": managerConf,
		"bind-address": "127.0.0.1", "leader-elect": "true", "profiling": "false",
		"client-ca-file":               kubeCA,
		"requestheader-client-ca-file": kubePKI + "/front-proxy-ca.crt",
		"cluster-name":                 in.Cluster.Name,
		"allocate-node-cidrs":          "true",
		"cluster-cidr":                 in.Cluster.PodCIDR(),
		"service-cluster-ip-range":     in.Cluster.ServiceCIDR(),
		// The last two serve bootstrap tokens and are disabled by default.
		"controllers":                      "*,bootstrapsigner,tokencleaner",
		"cluster-signing-cert-file":        kubeCA,
		"cluster-signing-key-file":         kubePKI + "/ca.key",
		"root-ca-file":                     kubeCA,
		"service-account-private-key-file": kubePKI + "/service-account.key",
		"use-service-account-credentials":  "true",
		"terminated-pod-gc-threshold":      "1000",
		"flex-volume-plugin-dir":           volumePlugins,
	}
	return daemon{
		name: "kube-controller-manager", about: "Kubernetes controller manager", after: []string{"kube-apiserver.service"},
		flags: mergeFlags(in, "kube-controller-manager", common, in.Cluster.ControllerManager.Args), service: append([]string{lastToDie}, confined...),
	}
}

func scheduler(in Input) daemon {
	common := flags{
		"kubeconfig": schedulerConf, "authentication-kubeconfig": schedulerConf, "authorization-kubeconfig": schedulerConf,
		"bind-address": "127.0.0.1", "leader-elect": "true", "profiling": "false",
	}
	return daemon{
		name: "kube-scheduler", about: "Kubernetes scheduler", after: []string{"kube-apiserver.service"},
		flags: mergeFlags(in, "kube-scheduler", common, in.Cluster.Scheduler.Args), service: append([]string{lastToDie}, confined...),
	}
}

// rbacObjects returns bindings of roles that are part of Kubernetes, that of administrators
// among them, the role of the approver, because none of the others approves serving
// certificates, and that of load balancers.
func rbacObjects(in Input) ([]json.RawMessage, error) {
	const csr = "system:certificates.k8s.io:certificatesigningrequests:"
	objects := append([]table{
		clusterRoleBinding(pki.AdminGroup, "cluster-admin", "Group", pki.AdminGroup),
		clusterRoleBinding("offk8s:node-bootstrapper", "system:node-bootstrapper", "Group", kube.Group),
		clusterRoleBinding("offk8s:node-autoapprove-bootstrap", csr+"nodeclient", "Group", kube.Group),
		clusterRoleBinding("offk8s:node-autoapprove-renewal", csr+"selfnodeclient", "Group", "system:nodes"),
		clusterRoleBinding("offk8s:apiserver-kubelet-client", "system:kubelet-api-admin", "User", pki.KubeletClient),
	}, approverRole(in)...)
	if b := in.Cluster.Balancing(); b == manifests.BalanceHosts || b == manifests.BalanceExternal {
		objects = append(objects, healthRole()...)
	}
	var out []json.RawMessage
	for _, o := range objects {
		b, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// healthRole allows the load balancers to ask API servers for readiness. All that
// Kubernetes itself allows to every user may be taken away by a hardened cluster.
func healthRole() []table {
	return []table{
		{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": table{"name": pki.Health},
			"rules": []table{{"nonResourceURLs": []string{"/healthz", "/livez", "/readyz"}, "verbs": []string{"get"}}},
		},
		clusterRoleBinding(pki.Health, pki.Health, "User", pki.Health),
	}
}

func clusterRoleBinding(name, role, kind, subject string) table {
	return table{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
		"metadata": table{"name": name},
		"roleRef":  table{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
		"subjects": []any{table{"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": subject}},
	}
}
