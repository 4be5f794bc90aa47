package manifests

import (
	"fmt"
	"strings"
	"testing"
)

// problemAt returns the text of the problem at path of goodCluster with more text,
// "" if there is none.
func problemAt(t *testing.T, more, path string) string {
	t.Helper()
	_, err := LoadCluster("c.yaml", []byte(goodCluster+more))
	if err == nil {
		return ""
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if strings.Contains(line, ": "+path+": ") {
			return line
		}
	}
	t.Fatalf("no problem at %s in:\n%v", path, err)
	return ""
}

func TestOwnedOverrides(t *testing.T) {
	tests := []struct{ doc, path, want string }{
		{"kubelet: {config: {cgroupDriver: cgroupfs}}", "kubelet.config.cgroupDriver", "c.yaml:13:34: kubelet.config.cgroupDriver: offk8s sets it, and other files or steps rely on the value (use runtime.cgroupDriver)"},
		{"kubelet: {args: {cgroup-driver: cgroupfs}}", "kubelet.args.cgroup-driver", "use runtime.cgroupDriver"},
		{"runtime: {config: {plugins: {io.containerd.cri.v1.runtime: {containerd: {runtimes: {runc: {options: {SystemdCgroup: false}}}}}}}}", `runtime.config.plugins["io.containerd.cri.v1.runtime"].containerd.runtimes.runc.options.SystemdCgroup`, "use runtime.cgroupDriver"},
		{"runtime: {config: {plugins: {io.containerd.grpc.v1.cri: {containerd: {runtimes: {nvidia: {options: {systemdCgroup: false}}}}}}}}", `runtime.config.plugins["io.containerd.grpc.v1.cri"].containerd.runtimes.nvidia.options.systemdCgroup`, "use runtime.cgroupDriver"},
		{"kubelet: {config: {cgroupDriver: ~}}", "kubelet.config.cgroupDriver", "use runtime.cgroupDriver"},
		{"kubelet: {config: {authentication: ~}}", "kubelet.config.authentication", "certificates"},
		{"runtime: {config: {plugins: none}}", "runtime.config.plugins", "offk8s sets it"},
		{"kubelet: {config: {clusterDNS: [10.0.0.9]}}", "kubelet.config.clusterDNS", "serviceCIDR"},
		{"kubelet: {config: {clusterDomain: x.y}}", "kubelet.config.clusterDomain", "network.dnsDomain"},
		{"kubelet: {config: {healthzPort: 1}}", "kubelet.config.healthzPort", "port"},
		{"kubelet: {args: {hostname-override: x}}", "kubelet.args.hostname-override", "hosts[].name"},
		{"kubelet: {args: {node-ip: 10.0.0.9}}", "kubelet.args.node-ip", "hosts[].address"},
		{"kubelet: {args: {container-runtime-endpoint: x}}", "kubelet.args.container-runtime-endpoint", "socket"},
		{"kubelet: {args: {kubeconfig: x}}", "kubelet.args.kubeconfig", "kubeconfigs"},
		{"kubelet: {args: {config-dir: /etc/x}}", "kubelet.args.config-dir", "kubelet.config"},
		{"proxy: {config: {hostnameOverride: x}}", "proxy.config.hostnameOverride", "hosts[].name"},
		{"proxy: {config: {clusterCIDR: 10.1.0.0/16}}", "proxy.config.clusterCIDR", "network.podCIDR"},
		{"proxy: {config: {mode: ipvs}}", "proxy.config.mode", "network.proxyMode"},
		{"proxy: {config: {clientConnection: {kubeconfig: x}}}", "proxy.config.clientConnection.kubeconfig", "kubeconfigs"},
		{"proxy: {config: {metricsBindAddress: 0.0.0.0:9999}}", "proxy.config.metricsBindAddress", "10249"},
		{"apiServer: {args: {service-cluster-ip-range: 10.9.0.0/16}}", "apiServer.args.service-cluster-ip-range", "network.serviceCIDR"},
		{"apiServer: {args: {secure-port: 8443}}", "apiServer.args.secure-port", "controlPlane.endpoint"},
		{"apiServer: {args: {bind-address: 10.0.0.11}}", "apiServer.args.bind-address", "connect"},
		{"apiServer: {args: {authorization-mode: AlwaysAllow}}", "apiServer.args.authorization-mode", "Node and RBAC"},
		{"apiServer: {args: {service-node-port-range: 5-x}}", "apiServer.args.service-node-port-range", "30000-32767"},
		{"controllerManager: {args: {cluster-cidr: 10.9.0.0/16}}", "controllerManager.args.cluster-cidr", "network.podCIDR"},
		{"controllerManager: {args: {node-cidr-mask-size: 26}}", "controllerManager.args.node-cidr-mask-size", "/24"},
		{"controllerManager: {args: {controllers: '*'}}", "controllerManager.args.controllers", "bootstrapsigner"},
		{"scheduler: {args: {secure-port: 1}}", "scheduler.args.secure-port", "port"},
		{"etcd: {args: {data-dir: /data}}", "etcd.args.data-dir", "mount another disk"},
		{"etcd: {args: {wal-dir: /data}}", "etcd.args.wal-dir", "mount another disk"},
		{"etcd: {args: {name: x}}", "etcd.args.name", "hosts[].name"},
		{"etcd: {args: {initial-cluster: x}}", "etcd.args.initial-cluster", "role etcd"},
		{"etcd: {args: {initial-cluster-state: existing}}", "etcd.args.initial-cluster-state", "role etcd"},
		{"etcd: {args: {config-file: x}}", "etcd.args.config-file", "etcd.args"},
		{"etcd: {args: {peer-cert-file: x}}", "etcd.args.peer-cert-file", "certificates"},
		{"etcd: {args: {listen-client-http-urls: 'http://0.0.0.0:2382'}}", "etcd.args.listen-client-http-urls", "hosts[].address"},
		{"etcd: {args: {strict-reconfig-check: 'false'}}", "etcd.args.strict-reconfig-check", "quorum"},
		{"etcd: {args: {unsafe-no-fsync: 'true'}}", "etcd.args.unsafe-no-fsync", "power cut"},
		{"apiServer: {args: {encryption-provider-config: /x}}", "apiServer.args.encryption-provider-config", "Secrets"},
		{"apiServer: {args: {etcd-prefix: /x}}", "apiServer.args.etcd-prefix", "objects"},
		{"apiServer: {args: {authorization-config: /x}}", "apiServer.args.authorization-config", "Node and RBAC"},
		{"apiServer: {args: {enable-admission-plugins: PodNodeSelector}}", "apiServer.args.enable-admission-plugins", "NodeRestriction"},
		{"apiServer: {args: {disable-admission-plugins: 'X,NodeRestriction'}}", "apiServer.args.disable-admission-plugins", "NodeRestriction"},
		{"apiServer: {args: {insecure-port: '8080'}}", "apiServer.args.insecure-port", "administrator"},
		{"controllerManager: {args: {leader-elect: 'false'}}", "controllerManager.args.leader-elect", "against each other"},
		{"scheduler: {args: {port: '10251'}}", "scheduler.args.port", "administrator"},
		{"kubelet: {args: {cni-conf-dir: /x}}", "kubelet.args.cni-conf-dir", "pod network"},
		{"etcd: {config: {a: b}}", "etcd.config", "use etcd.args"},
		{"scheduler: {config: {a: b}}", "scheduler.config", "use scheduler.args"},
		{"runtime: {config: {root: /data}}", "runtime.config.root", "mount another disk"},
		{"runtime: {config: {plugins: {io.containerd.grpc.v1.cri: {sandbox_image: x}}}}", `runtime.config.plugins["io.containerd.grpc.v1.cri"].sandbox_image`, "image"},
		{"runtime: {config: {plugins: {io.containerd.cri.v1.images: {registry: {mirrors: {}}}}}}", `runtime.config.plugins["io.containerd.cri.v1.images"].registry.mirrors`, "mirror"},
		{"hostPreparation: {sysctls: {net.ipv4.ip_forward: '0'}}", `hostPreparation.sysctls["net.ipv4.ip_forward"]`, "want 1"},

		{"hostPreparation: {sysctls: {net/ipv4/ip_forward: '0'}}", `hostPreparation.sysctls["net/ipv4/ip_forward"]`, "want 1"},

		// Settings that operators change for good reasons.
		{"runtime: {cgroupDriver: cgroupfs, config: {plugins: {io.containerd.cri.v1.runtime: {restrict_oom_score_adj: true}}}}", "", ""},
		{"runtime: {config: {plugins: {io.containerd.cri.v1.runtime: {containerd: {default_runtime_name: nvidia, runtimes: {nvidia: {runtime_type: io.containerd.runc.v2, options: {BinaryName: /usr/bin/nvidia-container-runtime, SystemdCgroup: true}}}}}}}}", "", ""},
		{"runtime: {config: {plugins: {io.containerd.cri.v1.runtime: {enable_selinux: true, containerd: {snapshotter: native}}, io.containerd.gc.v1.scheduler: {pause_threshold: 0.02}}, debug: {level: warn}, metrics: {address: '127.0.0.1:1338'}}}", "", ""},
		{"runtime: {config: {plugins: {io.containerd.grpc.v1.cri: {registry: {configs: {r.example.com: {auth: {username: a}}}}}}}}", "", ""},
		{"kubelet: {config: {evictionHard: {memory.available: 50Mi}, imageGCHighThresholdPercent: 100, failCgroupV1: false, maxPods: 200, authentication: {anonymous: {enabled: false}}, featureGates: {X: true}, systemReserved: {cpu: 500m}, resolvConf: /x, staticPodPath: /etc/kubernetes/manifests}}", "", ""},
		{"kubelet: {args: {v: '4', node-labels: a=b, feature-gates: X=true}}", "", ""},
		{"proxy: {config: {conntrack: {min: 7}, ipvs: {scheduler: lc}, metricsBindAddress: '0.0.0.0:10249', clientConnection: {qps: 50}}}", "", ""},
		{"apiServer: {args: {anonymous-auth: 'true', audit-log-maxage: '90', audit-policy-file: /x, authorization-mode: 'Node,RBAC,Webhook', oidc-issuer-url: 'https://x', service-account-issuer: 'https://x', service-node-port-range: 20000-40000, enable-admission-plugins: 'NodeRestriction,PodNodeSelector', disable-admission-plugins: LimitRanger, admission-control-config-file: ''}}", "", ""},
		{"controllerManager: {args: {bind-address: 0.0.0.0, node-monitor-grace-period: 20s, controllers: '*,bootstrapsigner,tokencleaner,-ttl', cluster-signing-duration: 720h}}", "", ""},
		{"scheduler: {args: {bind-address: 0.0.0.0, config: /etc/kubernetes/scheduler.yaml}}", "", ""},
		{"etcd: {args: {quota-backend-bytes: '8589934592', heartbeat-interval: '250', auto-compaction-retention: '8', listen-metrics-urls: 'http://0.0.0.0:2381'}}", "", ""},
		{"hostPreparation: {sysctls: {net.ipv4.ip_forward: '1', vm.max_map_count: '262144'}}", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.doc, func(t *testing.T) {
			got := problemAt(t, tt.doc+"\n", tt.path)
			if tt.want == "" != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Every owned key is refused, and names a flag or a field once.
func TestOwnedLists(t *testing.T) {
	for field := range (&Cluster{}).components() {
		for _, kind := range []string{"args", "config"} {
			lists := map[string]map[string][]owned{"args": ownedArgs, "config": ownedConfig}[kind]
			seen := map[string]bool{}
			for _, o := range lists[field] {
				for key := range strings.FieldsSeq(o.keys) {
					if seen[key] || o.hint == "" {
						t.Errorf("%s.%s: %q twice, or without a hint", field, kind, key)
					}
					seen[key] = true
					doc, end, value := "", "", "other"
					if key == "disable-admission-plugins" {
						value = "NodeRestriction"
					}
					for k := range strings.SplitSeq(key, "/") {
						doc, end = doc+fmt.Sprintf("{%s: ", strings.ReplaceAll(k, "*", "x")), end+"}"
					}
					if _, err := LoadCluster("c.yaml", []byte(goodCluster+field+": {"+kind+": "+doc+value+end+"}\n")); err == nil || !strings.Contains(err.Error(), o.hint) {
						t.Errorf("%s.%s %s: got %v, want %q", field, kind, key, err, o.hint)
					}
				}
			}
		}
	}
}
