package manifests

import (
	"fmt"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// owned are flags or fields of a program that cluster.yaml must not override, since
// other files repeat their value or a step relies on it: with another value, parts
// of the cluster would contradict each other.
type owned struct {
	// keys are flags without dashes, or paths of fields such as "grpc/address", in
	// which * is any key; separated by spaces.
	keys string
	hint string // the field to use instead, or the reason
	// agrees, if set, reports a value that contradicts nothing.
	agrees func(c *Cluster, value string) bool
}

// Hints of several programs.
const (
	useAddress   = "use hosts[].address"
	useName      = "use hosts[].name"
	useEtcdRole  = "use the role etcd of the hosts"
	usePods      = "use network.podCIDR"
	useServices  = "use network.serviceCIDR"
	useDomain    = "use network.dnsDomain"
	useCgroup    = "use runtime.cgroupDriver"
	useTaints    = "use hosts[].taints"
	certificates = "offk8s makes the certificates and keys, and writes them where the programs expect them"
	kubeconfigs  = "offk8s makes the kubeconfigs"
	fixedPort    = "other programs and the firewall expect this port"
	nodeRange    = "each node takes a /24 of network.podCIDR"
	joining      = "nodes join the cluster with it"
	sharedSocket = "kubelet and containerd share the socket"
	sharedImage  = "kubelet and containerd share the image of the bundle"
	fixedPath    = "offk8s checks and resets this directory; mount another disk there"
	fixedFormat  = "offk8s writes the file in this version"
	fromMirror   = "images come from the mirror"
	networkFiles = "offk8s installs the plugins of the pod network there"
	keepNodes    = "keep NodeRestriction: without it, a node can change other nodes"
	noLogin      = "whoever connects to that port is an administrator"
	oneLeader    = "control planes would work against each other"
)

// anyAddress reports an address on which local programs reach a daemon.
func anyAddress(_ *Cluster, v string) bool {
	return slices.Contains([]string{"127.0.0.1", "0.0.0.0", "::", "[::]"}, v)
}

// allAddresses reports that a daemon listens on all addresses.
func allAddresses(_ *Cluster, v string) bool { return v == "0.0.0.0" || v == "::" }

// listWith returns a function that reports a list, separated by commas, that has
// all elements of want and none of unwanted.
func listWith(want, unwanted []string) func(*Cluster, string) bool {
	return func(_ *Cluster, v string) bool {
		list := strings.Split(v, ",")
		has := func(s string) bool { return slices.Contains(list, s) }
		return !slices.ContainsFunc(unwanted, has) && !slices.ContainsFunc(want, func(s string) bool { return !has(s) })
	}
}

// exactly returns a function that reports the value want.
func exactly(want string) func(*Cluster, string) bool {
	return func(_ *Cluster, v string) bool { return v == want }
}

// ownedArgs lists the owned flags by the program's field in cluster.yaml.
var ownedArgs = map[string][]owned{
	"etcd": {
		{keys: "name", hint: useName},
		{keys: "data-dir wal-dir", hint: fixedPath},
		{keys: "listen-peer-urls listen-client-urls listen-client-http-urls initial-advertise-peer-urls advertise-client-urls", hint: useAddress},
		{keys: "initial-cluster initial-cluster-state discovery discovery-endpoints discovery-token discovery-srv " +
			"discovery-srv-name discovery-fallback discovery-proxy proxy", hint: useEtcdRole},
		{keys: "initial-cluster-token", hint: "it is the name of the cluster"},
		{keys: "trusted-ca-file ca-file cert-file key-file client-cert-file client-key-file client-cert-auth auto-tls " +
			"peer-trusted-ca-file peer-ca-file peer-cert-file peer-key-file peer-client-cert-file peer-client-key-file " +
			"peer-client-cert-auth peer-auto-tls", hint: certificates},
		{keys: "config-file", hint: "etcd would ignore all other flags; use etcd.args"},
		{keys: "force-new-cluster", hint: "every member would leave the others at each start"},
		{keys: "strict-reconfig-check", hint: "without it, a change of members can end the quorum", agrees: exactly("true")},
		{keys: "unsafe-no-fsync", hint: "a power cut would lose what etcd has confirmed", agrees: exactly("false")},
	},
	"apiServer": {
		{keys: "service-cluster-ip-range", hint: useServices},
		{keys: "advertise-address", hint: useAddress},
		{keys: "bind-address", hint: "the hosts and the API's own host connect to it", agrees: allAddresses},
		{keys: "secure-port", hint: "hosts and firewall expect 6443; for the port of a load balancer use controlPlane.endpoint"},
		{keys: "kubelet-port kubelet-https", hint: fixedPort},
		{keys: "etcd-servers", hint: useEtcdRole},
		{keys: "tls-cert-file tls-private-key-file", hint: "for more names use controlPlane.sans"},
		{keys: "client-ca-file etcd-cafile etcd-certfile etcd-keyfile kubelet-certificate-authority kubelet-client-certificate " +
			"kubelet-client-key requestheader-client-ca-file requestheader-allowed-names proxy-client-cert-file " +
			"proxy-client-key-file service-account-key-file service-account-signing-key-file", hint: certificates},
		{keys: "encryption-provider-config", hint: "without the key that offk8s makes, Secrets in etcd are unreadable"},
		{keys: "enable-bootstrap-token-auth", hint: joining},
		{keys: "authorization-mode", hint: "keep Node and RBAC: " + joining, agrees: listWith([]string{"Node", "RBAC"}, nil)},
		{keys: "authorization-config", hint: "it replaces Node and RBAC, with which nodes join the cluster"},
		{keys: "enable-admission-plugins", hint: keepNodes, agrees: listWith([]string{"NodeRestriction"}, nil)},
		{keys: "disable-admission-plugins", hint: keepNodes, agrees: listWith(nil, []string{"NodeRestriction"})},
		{keys: "admission-control", hint: "use enable-admission-plugins"},
		{keys: "allow-privileged", hint: "the pod network is privileged", agrees: exactly("true")},
		{keys: "etcd-prefix", hint: "the API server would not find the objects of the cluster"},
		{keys: "insecure-port port", hint: noLogin, agrees: exactly("0")},
		{keys: "insecure-bind-address address", hint: noLogin},
	},
	"controllerManager": {
		{keys: "cluster-cidr allocate-node-cidrs", hint: usePods},
		{keys: "node-cidr-mask-size node-cidr-mask-size-ipv4 node-cidr-mask-size-ipv6", hint: nodeRange},
		{keys: "service-cluster-ip-range", hint: useServices},
		{keys: "cluster-name", hint: "use name"},
		{keys: "kubeconfig authentication-kubeconfig authorization-kubeconfig master", hint: kubeconfigs},
		{keys: "bind-address", hint: "offk8s connects to it on 127.0.0.1", agrees: anyAddress},
		{keys: "secure-port", hint: fixedPort},
		{keys: "client-ca-file requestheader-client-ca-file root-ca-file service-account-private-key-file " +
			"cluster-signing-cert-file cluster-signing-key-file " +
			"cluster-signing-kubelet-client-cert-file cluster-signing-kubelet-client-key-file " +
			"cluster-signing-kubelet-serving-cert-file cluster-signing-kubelet-serving-key-file " +
			"cluster-signing-kube-apiserver-client-cert-file cluster-signing-kube-apiserver-client-key-file " +
			"cluster-signing-legacy-unknown-cert-file cluster-signing-legacy-unknown-key-file", hint: certificates},
		{
			keys: "controllers", hint: "keep *,bootstrapsigner,tokencleaner: " + joining,
			agrees: listWith([]string{"*", "bootstrapsigner", "tokencleaner"}, []string{
				"-bootstrapsigner", "-tokencleaner", "-csrsigning", "-csrapproving", "-nodeipam",
				"-bootstrap-signer-controller", "-token-cleaner-controller", "-node-ipam-controller",
				"-certificatesigningrequest-signing-controller", "-certificatesigningrequest-approving-controller",
			}),
		},
		{keys: "flex-volume-plugin-dir", hint: "the kubelet uses the same directory"},
		{keys: "leader-elect", hint: oneLeader, agrees: exactly("true")},
		{keys: "port", hint: noLogin, agrees: exactly("0")},
	},
	"scheduler": {
		{keys: "kubeconfig authentication-kubeconfig authorization-kubeconfig master", hint: kubeconfigs},
		{keys: "bind-address", hint: "offk8s connects to it on 127.0.0.1", agrees: anyAddress},
		{keys: "secure-port", hint: fixedPort},
		{keys: "leader-elect", hint: oneLeader, agrees: exactly("true")},
		{keys: "port", hint: noLogin, agrees: exactly("0")},
	},
	"kubelet": {
		{keys: "network-plugin cni-bin-dir cni-conf-dir", hint: networkFiles},
		{keys: "docker-endpoint", hint: "kubelet and docker share the socket"},
		{keys: "runonce", hint: "the kubelet would end instead of running", agrees: exactly("false")},
		{keys: "cgroup-driver", hint: useCgroup},
		{keys: "cluster-domain", hint: useDomain},
		{keys: "cluster-dns", hint: "it is the tenth address of network.serviceCIDR"},
		{keys: "pod-cidr", hint: nodeRange},
		{keys: "hostname-override", hint: useName},
		{keys: "node-ip address", hint: useAddress},
		{keys: "register-with-taints", hint: useTaints},
		{keys: "register-node", hint: "offk8s waits for the node"},
		{keys: "container-runtime container-runtime-endpoint image-service-endpoint", hint: sharedSocket},
		{keys: "pod-infra-container-image", hint: sharedImage},
		{keys: "port healthz-port healthz-bind-address enable-server", hint: fixedPort},
		{keys: "kubeconfig bootstrap-kubeconfig experimental-bootstrap-kubeconfig", hint: kubeconfigs},
		{keys: "config config-dir dynamic-config-dir", hint: "use kubelet.config"},
		{keys: "client-ca-file cert-dir tls-cert-file tls-private-key-file rotate-certificates rotate-server-certificates", hint: certificates},
		{keys: "root-dir pod-logs-dir", hint: fixedPath},
		{keys: "volume-plugin-dir", hint: "the controller manager uses the same directory"},
	},
	"proxy": {
		{keys: "hostname-override", hint: useName},
		{keys: "bind-address", hint: useAddress},
		{keys: "cluster-cidr", hint: usePods},
		{keys: "proxy-mode", hint: "use network.proxyMode"},
		{keys: "kubeconfig master", hint: kubeconfigs},
		{keys: "config", hint: "use proxy.config"},
		{keys: "metrics-bind-address metrics-port", hint: "kube-proxy ignores it; use proxy.config.metricsBindAddress"},
		{keys: "healthz-bind-address healthz-port", hint: fixedPort},
		{keys: "cleanup write-config-to", hint: "kube-proxy would end instead of running"},
	},
}

// ownedConfig lists the owned fields of configuration files, likewise.
var ownedConfig = map[string][]owned{
	"kubelet": {
		{keys: "apiVersion kind", hint: fixedFormat},
		{keys: "cgroupDriver", hint: useCgroup},
		{keys: "clusterDomain", hint: useDomain},
		{keys: "clusterDNS", hint: "it is the tenth address of network.serviceCIDR"},
		{keys: "podCIDR", hint: nodeRange},
		{keys: "address", hint: useAddress},
		{keys: "registerWithTaints", hint: useTaints},
		{keys: "registerNode", hint: "offk8s waits for the node"},
		{keys: "containerRuntimeEndpoint imageServiceEndpoint", hint: sharedSocket},
		{keys: "port healthzPort healthzBindAddress enableServer", hint: fixedPort},
		{keys: "authentication/x509/clientCAFile tlsCertFile tlsPrivateKeyFile rotateCertificates serverTLSBootstrap", hint: certificates},
		{keys: "podLogsDir", hint: fixedPath},
		{keys: "volumePluginDir", hint: "the controller manager uses the same directory"},
	},
	"proxy": {
		{keys: "apiVersion kind", hint: fixedFormat},
		{keys: "hostnameOverride", hint: useName},
		{keys: "bindAddress", hint: useAddress},
		{keys: "clusterCIDR", hint: usePods},
		{keys: "mode", hint: "use network.proxyMode"},
		{keys: "clientConnection/kubeconfig", hint: kubeconfigs},
		{keys: "healthzBindAddress", hint: fixedPort},
		{keys: "metricsBindAddress", hint: "keep the port 10249, which offk8s checks", agrees: func(c *Cluster, v string) bool {
			return anyAddress(c, strings.TrimSuffix(v, ":10249"))
		}},
	},
	"runtime": {
		{keys: "version", hint: fixedFormat},
		{keys: "root state", hint: fixedPath},
		{keys: "grpc/address", hint: sharedSocket},
		{keys: "plugins/*/systemd_cgroup exec-opts", hint: useCgroup},
		{keys: "data-root exec-root graph pidfile", hint: fixedPath},
		{keys: "hosts containerd group", hint: "kubelet and docker share the socket"},
		{keys: "storage-driver", hint: "offk8s resets the directories of overlay2"},
		{keys: "plugins/*/sandbox_image plugins/*/pinned_images/sandbox", hint: sharedImage},
		{keys: "plugins/*/registry/config_path plugins/*/registry/mirrors", hint: fromMirror},
		{keys: "plugins/*/cni/bin_dir plugins/*/cni/bin_dirs plugins/*/cni/conf_dir", hint: networkFiles},
		{
			keys: "plugins/*/containerd/runtimes/*/options/SystemdCgroup", hint: useCgroup,
			agrees: func(c *Cluster, v string) bool { return v == fmt.Sprint(c.CgroupDriver() == "systemd") },
		},
	},
}

// ownedSysctls are kernel settings that must be 1.
var ownedSysctls = []string{
	"net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables",
}

// ownedSysctls returns those of the cluster.
func (c *Cluster) ownedSysctls() []string {
	if c.DualStack() {
		return append(slices.Clone(ownedSysctls), "net.ipv6.conf.all.forwarding")
	}
	return ownedSysctls
}

// noConfig are the programs without a configuration file, by field.
var noConfig = []string{"etcd", "apiServer", "controllerManager", "scheduler"}

// components returns the settings of the programs by field.
func (c *Cluster) components() map[string]Component {
	return map[string]Component{
		"etcd": c.Etcd, "apiServer": c.APIServer, "controllerManager": c.ControllerManager,
		"scheduler": c.Scheduler, "kubelet": c.Kubelet, "proxy": c.Proxy,
		"runtime": {Config: c.Runtime.Config},
	}
}

// validateOwned adds a problem for each override of an owned flag or field.
func (c *Cluster) validateOwned(ck *strict.Checks) {
	for field, d := range c.components() {
		for _, o := range ownedArgs[field] {
			for key := range strings.FieldsSeq(o.keys) {
				if v, set := d.Args[key]; set {
					o.check(ck, c, strict.JoinPath(field+".args", key), v)
				}
			}
		}
		seen := map[string]bool{}
		for _, o := range ownedConfig[field] {
			for key := range strings.FieldsSeq(o.keys) {
				each(d.Config, strings.Split(key, "/"), field+".config", func(path string, v any) {
					if !seen[path] {
						o.check(ck, c, path, fmt.Sprint(v))
					}
					seen[path] = true
				})
			}
		}
		if len(d.Config) > 0 && slices.Contains(noConfig, field) {
			ck.Problems = append(ck.Problems, strict.Problem{
				Path: field + ".config", Message: "this program has no configuration file", Hint: "use " + field + ".args",
			})
		}
	}
}

func (o owned) check(ck *strict.Checks, c *Cluster, path, value string) {
	if o.agrees == nil || !o.agrees(c, value) {
		ck.Problems = append(ck.Problems, strict.Problem{
			Path: path, Message: "offk8s sets it, and other files or steps rely on the value", Hint: o.hint,
		})
	}
}

// each calls found with the values at a path of keys, * being any key, and with
// values that would replace a mapping on the way to it. Keys differ in case for no
// program that reads them.
func each(m map[string]any, keys []string, path string, found func(path string, v any)) {
	for k, v := range m {
		if keys[0] != "*" && !strings.EqualFold(k, keys[0]) {
			continue
		}
		at := strict.JoinPath(path, k)
		if sub, ok := v.(map[string]any); ok && len(keys) > 1 {
			each(sub, keys[1:], at, found)
		} else {
			found(at, v)
		}
	}
}
