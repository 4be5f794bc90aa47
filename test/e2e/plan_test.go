//go:build e2e

package e2e

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// host is a machine of the lab. The parts of a road choose hosts by their roles.
type host struct {
	name, addr string
	roles      []string
	os         string // "" is the road's RPM family
	way        string // where its default route leads (lab.sh)
	ssh        string // settings in cluster.yaml
}

func (h host) has(roles ...string) bool {
	return slices.ContainsFunc(roles, func(r string) bool { return slices.Contains(h.roles, r) })
}

const (
	controlPlane = "control-plane"
	member       = "etcd"
	worker       = "worker"
	balancer     = "load-balancer"

	debian = "debian-12"
)

// plan is the shape of a cluster: its hosts, and how nodes reach the control planes.
type plan struct {
	name    string
	hosts   []host
	vip     string   // of its balancers
	extra   string   // lines of cluster.yaml
	start   []string // the hosts of the beginning, if others come later
	tickets bool     // the hosts install themselves, without SSH
	cni     string   // the pod network, if it is not the release's default
	docker  bool     // the container runtime is docker
	refused string   // what the preflight checks say instead of an install
	managed bool     // others manage the hosts too: firewalls, NetworkManager, cloud-init
	bare    bool     // nothing is installed: conditions of hosts alone

	replicas bool // two mirrors stand on a registry
}

// plans are the shapes that the lab tries. In each of several hosts both families are mixed.
var plans = []plan{
	{name: "one", hosts: []host{
		{name: "cp-1", addr: "10.66.0.11", roles: []string{controlPlane, member, worker}, os: debian},
	}},
	{name: "three", hosts: []host{
		{name: "cp-1", addr: "10.66.0.11", roles: []string{controlPlane, member}, os: debian},
		{name: "node-1", addr: "10.66.0.12", roles: []string{member, worker}},
		{name: "node-2", addr: "10.66.0.13", roles: []string{member, worker}, os: debian},
	}},
	{name: "six", vip: "10.66.0.10", hosts: []host{
		{name: "lb-1", addr: "10.66.0.31", roles: []string{balancer}, os: debian},
		{name: "lb-2", addr: "10.66.0.32", roles: []string{balancer}},
		{name: "cp-1", addr: "10.66.0.11", roles: []string{controlPlane, member}, os: debian},
		{name: "cp-2", addr: "10.66.0.14", roles: []string{controlPlane, member}},
		{name: "cp-3", addr: "10.66.0.15", roles: []string{controlPlane, member}, os: debian},
		{name: "node-1", addr: "10.66.0.12", roles: []string{worker}},
	}},
	{name: "node-local", extra: "loadBalancer: {mode: node-local}\n", hosts: []host{
		{name: "cp-1", addr: "10.66.0.11", roles: []string{controlPlane, member}, os: debian},
		{name: "cp-2", addr: "10.66.0.14", roles: []string{controlPlane, member}},
		{name: "cp-3", addr: "10.66.0.15", roles: []string{controlPlane, member}, os: debian},
		{name: "node-1", addr: "10.66.0.12", roles: []string{worker}},
	}},
}

// derived returns the plan of a name, changed.
func derived(from, name string, change func(*plan)) plan {
	p := plans[slices.IndexFunc(plans, func(p plan) bool { return p.name == from })]
	p.name = name
	change(&p)
	return p
}

func init() {
	plans = append(plans,
		derived("three", "tickets", func(p *plan) { p.tickets = true }),
		derived("six", "grows", func(p *plan) { p.start = []string{"cp-1", "node-1"} }),
		derived("three", "host-gw-nftables", func(p *plan) { p.extra = "network: {options: {backend: host-gw}, proxyMode: nftables}\n" }),
		derived("one", "ipvs", func(p *plan) { p.extra, p.refused = "network: {proxyMode: ipvs}\n", "ip_vs" }),
		derived("three", "managed", func(p *plan) {
			p.managed, p.hosts = true, slices.Clone(p.hosts)
			p.hosts[0].way = "host1"
		}),
		derived("three", "conditions", func(p *plan) { p.bare = true }),
		derived("three", "replicas", func(p *plan) { p.replicas = true }),
		derived("three", "docker", func(p *plan) { p.docker = true }),
		derived("three", "isolated", func(p *plan) {
			p.cni = "flannel-kube-router"
			p.extra = "network: {isolation: namespaces, options: {backend: host-gw}, proxyMode: nftables}\n"
		}),
		derived("three", "kube-router", func(p *plan) { p.cni, p.extra = "kube-router", "network: {options: {kubeProxy: true}}\n" }),
		derived("one", "kube-router-ipvs", func(p *plan) { p.cni, p.refused = "kube-router", "ip_vs" }))
}

// version is a Kubernetes version, with the components that the lab built for it.
type version struct {
	minor, full  string
	rpm          string   // the RPM-family distro of its roads
	components   []string // of the lab, in order of preference; Kubernetes is the first
	criPlugin    string   // section of containerd's config that takes restrict_oom_score_adj
	failCgroupV1 bool     // the kubelet refuses cgroup v1 unless told
}

var versions = []version{
	{
		minor: "1.36", full: "1.36.3", rpm: "rocky-9", failCgroupV1: true,
		components: []string{"kubernetes-1.36", "etcd", "containerd", "cni-plugins", "coredns"},
		criPlugin:  "io.containerd.cri.v1.runtime",
	},
	{
		minor: "1.34", full: "1.34.10", rpm: "rocky-9",
		components: []string{"kubernetes-1.34", "etcd", "containerd", "cni-plugins", "coredns"},
		criPlugin:  "io.containerd.cri.v1.runtime",
	},
	{
		minor: "1.29", full: "1.29.15", rpm: "rocky-9",
		components: []string{"kubernetes-1.29", "etcd-3.5", "containerd-1.6", "cni-plugins", "coredns"},
		criPlugin:  "io.containerd.grpc.v1.cri",
	},
	{
		minor: "1.16", full: "1.16.15", rpm: "centos-7",
		components: []string{"kubernetes-1.16", "etcd-3.4", "containerd-1.6", "cni-plugins", "coredns-1.8"},
		criPlugin:  "io.containerd.grpc.v1.cri",
	},
}

// line is a row of the matrix: a version on a plan.
type line struct {
	version, plan string
	odd, way      string // the host whose default route is another, and which
	ci            bool   // one of the lines that run unless E2E_LINES names others
}

// lines is the matrix. The two lines of CI share the second day: what needs three control
// planes is on the first, what needs workers that can go is on the second.
var lines = []line{
	{version: "1.36", plan: "six", odd: "node-1", way: "none", ci: true},
	{version: "1.16", plan: "three", odd: "node-2", way: "host1", ci: true},
	{version: "1.36", plan: "three", odd: "node-1", way: "none"},
	{version: "1.36", plan: "one"},
	{version: "1.36", plan: "node-local", odd: "node-1", way: "none"},
	{version: "1.36", plan: "tickets"},
	{version: "1.36", plan: "grows"},
	{version: "1.36", plan: "host-gw-nftables", odd: "node-1", way: "none"},
	{version: "1.36", plan: "ipvs"},
	{version: "1.36", plan: "conditions"},
	{version: "1.36", plan: "replicas"},
	{version: "1.36", plan: "managed", odd: "node-1", way: "none"},
	{version: "1.36", plan: "isolated"},
	{version: "1.36", plan: "kube-router"},
	{version: "1.36", plan: "kube-router-ipvs"},
	{version: "1.34", plan: "isolated"},
	{version: "1.29", plan: "kube-router"},
	{version: "1.34", plan: "three"},
	{version: "1.29", plan: "three"},
	{version: "1.16", plan: "docker"},
	{version: "1.16", plan: "six", odd: "node-1", way: "host1"},
}

// chosen returns the roads of this run: those whose names match E2E_LINES, or CI's, of
// the version E2E_VERSION if it is set.
func chosen(t *testing.T, l *lab) []*road {
	t.Helper()
	want, err := regexp.Compile(os.Getenv("E2E_LINES"))
	must(t, err)
	var roads []*road
	for _, x := range lines {
		v := versions[slices.IndexFunc(versions, func(v version) bool { return v.minor == x.version })]
		p := plans[slices.IndexFunc(plans, func(p plan) bool { return p.name == x.plan })]
		r := &road{lab: l, version: v, plan: p, ci: x.ci, main: x.ci && x.version == versions[0].minor}
		if only := os.Getenv("E2E_VERSION"); only != "" && only != x.version {
			continue
		}
		if x.ci && want.String() == "" || want.String() != "" && want.MatchString(r.name()) {
			r.dress(x)
			roads = append(roads, r)
		}
	}
	return roads
}

// dress fills in the systems and default routes of the plan's hosts.
func (r *road) dress(x line) {
	r.hosts, r.vip = slices.Clone(r.plan.hosts), r.plan.vip
	for i := range r.hosts {
		h := &r.hosts[i]
		if h.os == "" {
			h.os = r.rpm
		}
		h.way = cmp.Or(h.way, "host0")
		if h.name == x.odd {
			h.way = x.way
		}
	}
	if len(r.plan.start) > 0 {
		r.all, r.vip = r.hosts, ""
		r.hosts = slices.DeleteFunc(slices.Clone(r.all), func(h host) bool { return !slices.Contains(r.plan.start, h.name) })
	}
}

// build makes the components of the line, and finds their directories. kubectl is that
// of its Kubernetes.
func (r *road) build(t *testing.T) {
	t.Helper()
	names := append(slices.Clone(r.components), "cfssl", "runc", "flannel", "flannel-cni")
	if strings.Contains(r.plan.cni, "kube-router") {
		names = append(names, "kube-router")
	}
	if r.plan.docker {
		names = append(names, "docker")
	}
	dirs := map[string]string{}
	for l := range strings.Lines(run(t, 3*time.Hour, append([]string{"../lab/components/build.sh"}, names...)...)) {
		name, dir, _ := strings.Cut(strings.TrimSpace(l), "\t")
		dirs[name] = dir
	}
	made := func(name string) string { return filepath.Join(r.cache, "components", name) }
	for _, n := range names {
		if n != "docker" {
			r.binaries = append(r.binaries, dirs[n])
		}
	}
	r.binaries, r.kubectlFile = append(r.binaries, made("images"), made("crictl")), filepath.Join(dirs[names[0]], "kubectl")
	if r.plan.docker {
		r.dockerDirs = []string{dirs["docker"], made("images")}
	}
}

// name is what the line is called in results: "1.36.3-six".
func (r *road) name() string { return r.full + "-" + r.plan.name }

// with returns the hosts that have one of the roles.
func (r *road) with(roles ...string) []host {
	return slices.DeleteFunc(slices.Clone(r.hosts), func(h host) bool { return !h.has(roles...) })
}

// nodes returns the hosts with a kubelet.
func (r *road) nodes() []host { return r.with(controlPlane, worker) }

// host returns the host with the name.
func (r *road) host(t *testing.T, name string) host {
	t.Helper()
	i := slices.IndexFunc(r.hosts, func(h host) bool { return h.name == name })
	if i < 0 {
		t.Fatalf("no host %s in the plan", name)
	}
	return r.hosts[i]
}

// families returns the last host of each family but the first host: for what has to be
// tried on apt and on dnf.
func (r *road) families() []host {
	var hosts []host
	for _, h := range slices.Backward(r.hosts[1:]) {
		if !slices.ContainsFunc(hosts, func(x host) bool { return (x.os == debian) == (h.os == debian) }) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// names joins the names of hosts.
func names(hosts []host) string {
	var s []string
	for _, h := range hosts {
		s = append(s, h.name)
	}
	return strings.Join(s, " ")
}
