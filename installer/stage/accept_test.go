package stage

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/manifests"
)

// If Cluster.Validate accepts a cluster, the stages plan it and the checks without facts pass:
// nothing is refused only when hosts are asked. Generated clusters mix usual values
// with odd ones, which Validate may refuse.
func TestAcceptedClustersArePlanned(t *testing.T) {
	accepted := 0
	for seed := range uint64(600) {
		in := testInput(t, []string{"1.16", "1.36"}[seed%2])
		in.Facts = nil
		in.Cluster = randomCluster(rand.New(rand.NewPCG(seed, 7)), in.Lock)
		if len(in.Cluster.Validate()) > 0 {
			continue
		}
		accepted++
		in.Cluster.SetDefaults(in.Lock.Release)
		if bad := in.Cluster.Validate(); len(bad) > 0 {
			t.Errorf("seed %d: with defaults it is no longer valid: %v", seed, bad)
		}
		for _, c := range Failed(append(preflight(in), completeness(in)...)) {
			if c.Name != "address-family" || !strings.Contains(in.Cluster.PodCIDR(), ":") {
				t.Errorf("seed %d: %v", seed, c)
			}
		}
		ids := map[string]bool{}
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			for it := range plan(t, in) {
				if key := it.host.Name + " " + it.ID; ids[key] {
					t.Errorf("step %q twice", key)
				} else {
					ids[key] = true
				}
			}
		})
	}
	if accepted < 60 {
		t.Errorf("only %d of the generated clusters are valid", accepted)
	}
}

// randomCluster returns a cluster of values that are mostly good.
func randomCluster(r *rand.Rand, lock *manifests.Lock) *manifests.Cluster {
	pick := func(values ...string) string { return values[r.IntN(len(values))] }
	// rarely returns one of values in one of ten cases, else "", the default.
	rarely := func(values ...string) string {
		if r.IntN(10) > 0 {
			return ""
		}
		return pick(values...)
	}
	v6 := r.IntN(6) == 0
	c := &manifests.Cluster{
		APIVersion: manifests.APIVersion, Kind: manifests.KindCluster, Name: pick("site", "a", strings.Repeat("x", 63), "1-2"),
		Mirror: manifests.ClusterMirror{URL: pick("https://10.9.0.3:8443", "http://dmz", "https://[fd09::3]:8443/", "https://m.example.com")},
		SSH:    manifests.SSH{User: rarely("jdoe@corp.example.com", `CORP\jdoe`, "Administrator", "a b"), Port: r.IntN(3) * 2222},
		Network: manifests.ClusterNetwork{
			PodCIDR:     rarely("10.128.0.0/9", "10.244.0.0/20", "192.168.0.0/24", "10.200.1.0/16", "127.0.0.0/8"),
			ServiceCIDR: rarely("172.20.0.0/28", "172.20.0.0/12", "172.20.0.0/20", "172.20.0.0/29", "224.0.0.0/16"),
			DNSDomain:   rarely("k8s.example.com", "x", "K8s"), ProxyMode: rarely("ipvs", "nftables", "userspace"),
		},
		ControlPlane: manifests.ControlPlane{Endpoint: rarely("k8s.example.com:443", "10.9.0.9:6443", "k8s.example.com")},
		Runtime:      manifests.Runtime{CgroupDriver: rarely("cgroupfs", "systemd", "none")},
		Time:         manifests.Time{MaxSkew: rarely("1h", "5s", "-1s")},
	}
	if v6 && r.IntN(5) > 0 {
		c.Network.PodCIDR, c.Network.ServiceCIDR = pick("fd01::/48", "fd01::/56", "fd01::/64"), pick("fd02::/108", "fd02::/112")
	}
	if s := rarely("*.k8s.example.com", "fd00::9", "K8s"); s != "" {
		c.ControlPlane.SANs = []string{s, "k8s.example.com"}
	}
	if s := rarely("ntp.example.com", "10.9.0.5", "10.9.0.5:123"); s != "" {
		c.Time.Servers, c.Time.Args = []string{s}, []string{"-x"}
	}
	if s := rarely("v", "data-dir", "cgroup-driver", "feature-gates", "service-node-port-range"); s != "" {
		c.Kubelet.Args = map[string]string{s: pick("20000-30000", "A=true,B=false", `a "quoted" $VALUE %n`)}
		c.APIServer.Args, c.Etcd.Args = c.Kubelet.Args, c.Kubelet.Args
	}
	if s := rarely("maxPods", "cgroupDriver", "evictionHard", "authentication"); s != "" {
		c.Kubelet.Config = table{s: table{"nodefs.available": "1%"}}
		c.Runtime.Config = table{"debug": table{"level": pick("warn", "a\nb")}}
	}
	if s := rarely("vm.max_map_count", "net.ipv4.conf.all.rp_filter", "net.ipv4.ip_forward", "a b", "net.ipv4.conf.eth0-1.x", "a-b.c"); s != "" {
		c.HostPrep.Sysctls = map[string]string{s: pick("1", "0", "4096 87380 6291456")}
	}
	if s := rarely("hostname", "swap", "firewall", "nothing"); s != "" {
		c.HostPrep.Skip = []string{s}
	}
	for i := range 1 + r.IntN(6) {
		h := manifests.Host{
			Name:    pick("h", "node-", "a.b.example.com-", strings.Repeat("n", 62), strings.Repeat("n", 63)) + fmt.Sprint(i),
			Address: fmt.Sprintf("10.9.1.%d", i+1), OS: rarely(lock.Distros...), Roles: []manifests.Role{manifests.RoleWorker},
		}
		if v6 {
			h.Address = fmt.Sprintf("fd09::%x", i+1)
		}
		if r.IntN(30) == 0 {
			h.Address = pick("::ffff:10.9.2.1", "FD09::1:1", "10.9.2.2")
		}
		if i == 0 {
			h.Roles = []manifests.Role{manifests.RoleControlPlane, manifests.RoleEtcd, manifests.RoleWorker}
		} else if r.IntN(4) == 0 {
			h.Roles = []manifests.Role{manifests.Role(pick("etcd", "worker", "control-plane", "load-balancer"))}
		}
		if s := rarely("zone", "example.com/rack", "node-role.kubernetes.io/worker", "a b"); s != "" {
			h.Labels, h.Taints = map[string]string{s: pick("", "a", "A_b.c")}, []string{s + pick("", "=", "=x") + ":NoSchedule"}
		}
		c.Hosts = append(c.Hosts, h)
	}
	return c
}
