package stage

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Names of the drills, in their order.
const (
	DrillBalancer     = "balancer"
	DrillControlPlane = "control-plane"
	DrillEtcd         = "etcd"
)

// DrillNames returns the names of all drills.
func DrillNames() []string { return []string{DrillBalancer, DrillControlPlane, DrillEtcd} }

// Drill is a stop of services of one host that the cluster must survive.
type Drill struct {
	Name  string
	Host  string        // "" if the cluster would not survive it
	Units []string      // "etcd.service"
	Limit time.Duration // on the time for which clients cannot write
	// Note is why there is no host, or what limits the drill.
	Note string
}

// Drills returns the drills of a cluster in their order: of the active balancer, of a
// control plane and of a member of etcd. in has the facts of the balancers. leader is the
// host of the leader of etcd, "" if it is not known.
func Drills(in Input, leader string) []Drill {
	return []Drill{balancerDrill(in), controlPlaneDrill(in), etcdDrill(in, leader)}
}

func balancerDrill(in Input) Drill {
	d := Drill{Name: DrillBalancer, Units: []string{keepalivedUnit, haproxyUnit}, Limit: 5 * time.Second}
	all := in.Cluster.HostsWith(manifests.RoleLoadBalancer)
	i := slices.IndexFunc(all, func(h manifests.Host) bool {
		_, active := in.Facts[h.Name].Interface(in.Cluster.LoadBalancer.VIP)
		return active
	})
	switch mode := in.Cluster.Balancing(); {
	case mode == manifests.BalanceExternal:
		d.Note = "offk8s does not manage the balancer"
	case mode == manifests.BalanceNodeLocal:
		d.Note = "every node has a balancer of its own"
	case mode != manifests.BalanceHosts:
		d.Note = "the cluster has no balancers"
	case len(all) < 2:
		d.Note = "the cluster has one balancer"
	case i < 0:
		d.Note = "no balancer has the address " + in.Cluster.LoadBalancer.VIP
	default:
		d.Host = all[i].Name
	}
	return d
}

// controlPlaneDrill stops the last control plane that clients do not connect to directly.
func controlPlaneDrill(in Input) Drill {
	d := Drill{Name: DrillControlPlane, Limit: 3 * time.Second}
	for _, u := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "offk8s-approver"} {
		d.Units = append(d.Units, u+".service")
	}
	all := leaders(in)
	if len(all) < 2 {
		d.Note = "the cluster has one control plane"
		return d
	}
	address, _, _ := net.SplitHostPort(in.Cluster.Endpoint())
	for _, h := range slices.Backward(all) {
		if h.Address != address && !strings.EqualFold(h.Name, address) {
			d.Host = h.Name
			break
		}
	}
	if in.Cluster.Balancing() == manifests.BalanceNodeLocal {
		d.Note = "clients connect to " + address + ", which is not stopped"
	}
	return d
}

// etcdDrill stops the leader, which is the worst case.
func etcdDrill(in Input, leader string) Drill {
	d := Drill{Name: DrillEtcd, Units: []string{"etcd.service"}, Limit: 5 * time.Second}
	switch all := in.Cluster.HostsWith(manifests.RoleEtcd); {
	case len(all) < 3:
		d.Note = fmt.Sprintf("the cluster has %d of at least 3 members", len(all))
	case leader != "":
		d.Host = leader
	default:
		d.Host, d.Note = all[len(all)-1].Name, "its leader is not known"
	}
	return d
}

// Drilled returns the hosts whose services a drill may stop: the others need not be there.
func Drilled(c *manifests.Cluster) []manifests.Host {
	return slices.DeleteFunc(slices.Clone(c.Hosts), func(h manifests.Host) bool {
		return !h.HasRole(manifests.RoleLoadBalancer) && !h.HasRole(manifests.RoleControlPlane) && !h.HasRole(manifests.RoleEtcd)
	})
}

// Working returns the steps that observe on a host that everything works that a drill can
// stop. Each waits for that time at most.
func Working(in Input, h manifests.Host, within time.Duration) []step.Item {
	l := &list{stage: "drill"}
	limit := step.Duration(within)
	if h.HasRole(manifests.RoleEtcd) {
		w := memberHealthy(h)
		w.Timeout = limit
		l.add("etcd", w)
	}
	if h.HasRole(manifests.RoleControlPlane) {
		l.add("api", &kube.Healthy{Timeout: limit})
	}
	if h.HasRole(manifests.RoleLoadBalancer) && in.Cluster.Balancing() == manifests.BalanceHosts {
		w := balancerServes(in, "127.0.0.1")
		w.Timeout = limit
		l.add("balancer", w)
		l.add("keepalived", &step.Wait{Argv: []string{"systemctl", "is-active", "--quiet", "--", keepalivedUnit}, Timeout: limit, Text: "keepalived runs"})
	}
	return l.items
}

// LeadsEtcd observes whether the member of a host is the leader of etcd.
func LeadsEtcd(h manifests.Host) step.Item {
	return step.Item{ID: "drill/leader", Step: &step.Wait{
		URL: etcdURL(h, etcdClientPort) + "/metrics", CAFile: etcdPKI + "/ca.crt",
		CertFile: etcdPKI + "/client.crt", KeyFile: etcdPKI + "/client.key",
		Expect: "\netcd_server_is_leader 1\n", Text: "etcd member " + h.Name + " is the leader",
	}}
}
