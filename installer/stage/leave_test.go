package stage

import (
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// applied makes every host remember the cluster of three with the roles given per host.
func applied(in Input, roles ...string) Input {
	var members []facts.Member
	for i, r := range roles {
		members = append(members, facts.Member{Name: "h" + string(rune('1'+i)), Address: "10.0.0." + string(rune('1'+i)), Roles: strings.Fields(r), SSHUser: "ops"})
	}
	for _, h := range in.Cluster.Hosts {
		f := in.Facts[h.Name]
		f.Installed = &facts.Installed{Cluster: "lab", Host: h.Name, Hosts: members, Time: time.Unix(2, 0)}
		in.Facts[h.Name] = f
	}
	return in
}

func TestLeaving(t *testing.T) {
	const member = "etcd"
	three := []string{"control-plane etcd", "etcd worker", "etcd worker"}
	for _, tt := range []struct {
		name     string
		was      []string
		now      []string // roles of h1, h2 …
		runs     []string
		leaving  string
		exNodes  string
		exEtcd   string
		problems string
	}{
		{"nothing", three, three, []string{"h1 2379"}, "", "", "", ""},
		{"a worker and member", three, three[:2], []string{"h1 2379", "h2 2379"}, "h3", "h3", "h3", ""},
		{"the role of a worker", three, []string{"control-plane etcd", "etcd worker", member}, []string{"h1 2379"}, "", "h3", "", ""},
		{"the role of a member", three, []string{"control-plane etcd", "etcd worker", "worker"}, []string{"h1 2379"}, "", "", "h3", ""},
		{"a node stays one", three, []string{"control-plane etcd", "etcd control-plane", "etcd worker"}, []string{"h1 2379"}, "", "", "", ""},
		{"every member that runs", three, three[:1], nil, "h2 h3", "h2 h3", "h2 h3", "etcd-stays"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := orderInput(len(tt.now), 1, tt.runs...)
			in.Lock = &manifests.Lock{}
			for i := range in.Cluster.Hosts {
				in.Cluster.Hosts[i].Roles = nil
				for _, r := range strings.Fields(tt.now[i]) {
					in.Cluster.Hosts[i].Roles = append(in.Cluster.Hosts[i].Roles, manifests.Role(r))
				}
			}
			in = applied(in, tt.was...)
			in.Cluster.SSH.KeyFile = "~/.ssh/lab"
			names := func(hosts []manifests.Host) string { return strings.Join(hostNames(hosts), " ") }
			if l, n, m := names(Leaving(in)), names(in.exNodes()), names(in.exMembers()); l != tt.leaving || n != tt.exNodes || m != tt.exEtcd {
				t.Errorf("leaving %q, no nodes any more %q, no members any more %q", l, n, m)
			}
			for _, h := range Leaving(in) {
				if h.SSH.User != "ops" || h.SSH.KeyFile != "~/.ssh/lab" || h.Local {
					t.Errorf("%s is reached by %+v", h.Name, h.SSH)
				}
			}
			var problems []string
			for _, c := range Failed(checkLeaving(in)) {
				problems = append(problems, c.Name)
			}
			if got := strings.Join(problems, " "); got != tt.problems {
				t.Errorf("problems %q, want %q", got, tt.problems)
			}
			cp := in.Cluster.Hosts[0]
			var gone, drained []string
			for _, it := range must(drainSteps(in, cp)) {
				drained = append(drained, it.Step.(*kube.Drain).Name)
			}
			for _, it := range must(nodeLeaveSteps(in, cp)) {
				gone = append(gone, it.Step.(*kube.NodeGone).Name)
			}
			if d, g := strings.Join(drained, " "), strings.Join(gone, " "); d != tt.exNodes || g != tt.exNodes {
				t.Errorf("drained %q, deleted %q, want %q", d, g, tt.exNodes)
			}
			// Members that run leave after the others have joined, the others before.
			early, late := 0, 0
			if items := must(etcdGoneSteps(in, cp)); len(items) > 0 {
				early = len(items[0].Step.(*step.EtcdLeave).PeerURLs)
			}
			if len(must(etcdLeaveSteps(in, cp))) > 0 {
				late = len(in.etcdLeavers())
			}
			if want := len(strings.Fields(tt.exEtcd)); tt.problems == "" && early+late != want {
				t.Errorf("%d members leave at first and %d at last, want %d", early, late, want)
			}
			// A run that ends early must not forget them; one that ends well must.
			now, until := Members(in)
			for _, h := range in.Cluster.Hosts {
				for i, m := range now {
					if m.Name == h.Name && len(until[i].Roles) < len(m.Roles) {
						t.Errorf("%s: until then %v, then %v", m.Name, until[i].Roles, m.Roles)
					}
				}
			}
			if len(now) != len(tt.now) || len(until) != len(tt.was) {
				t.Errorf("%d hosts are recorded until then, %d then; want %d, %d", len(until), len(now), len(tt.was), len(tt.now))
			}
		})
	}
}

func must(items []step.Item, err error) []step.Item {
	if err != nil {
		panic(err)
	}
	return items
}

// A host that left and is away needs a word; the word for another host is an error.
func TestForget(t *testing.T) {
	for _, tt := range []struct {
		away, forget, want string
	}{
		{"", "", ""},
		{"h3", "", "leaving"},
		{"h3", "h3", ""},
		{"", "h2", "forget"},
		{"", "h9", "forget"},
	} {
		in := applied(orderInput(2, 1, "h1 2379"), "control-plane etcd", "etcd", "worker")
		in.Lock = &manifests.Lock{}
		in.Away, in.Forget = map[string]bool{tt.away: true}, map[string]bool{}
		if tt.forget != "" {
			in.Forget[tt.forget], in.Away[tt.forget] = true, true
		}
		got := ""
		for _, c := range Failed(checkLeaving(in)) {
			got += c.Name
		}
		if got != tt.want {
			t.Errorf("away %q, forget %q: %q, want %q", tt.away, tt.forget, got, tt.want)
		}
		// Nobody can end the pods of a host that is away.
		if items := must(drainSteps(in, in.Cluster.Hosts[0])); len(items) != map[bool]int{true: 1}[tt.away == "" && tt.forget != "h3"] {
			t.Errorf("away %q, forget %q: %d nodes are drained", tt.away, tt.forget, len(items))
		}
	}
}

// A file in which every control plane and member is new would begin a second etcd beside
// that of the workers.
func TestMembersKnown(t *testing.T) {
	for _, tt := range []struct {
		name    string
		worker  bool // belongs to the cluster and runs
		records bool // a control plane knows the hosts
		want    int
	}{
		{"first installation", false, false, 0},
		{"a worker of a cluster that nobody knows", true, false, 1},
		{"a worker of a cluster that a control plane knows", true, true, 0},
	} {
		in := orderInput(1, 1)
		in.Cluster.Hosts = append(in.Cluster.Hosts, manifests.Host{Name: "w", Address: "10.0.0.9", Roles: []manifests.Role{manifests.RoleWorker}})
		in.Facts["h1"] = facts.Facts{}
		if tt.worker {
			in.Facts["w"] = facts.Facts{
				Installed: &facts.Installed{Cluster: "lab"}, Listening: []facts.Listener{{Protocol: "tcp", Port: 10250}},
			}
		}
		if tt.records {
			in = applied(in, "control-plane etcd")
		}
		c := &checks{}
		checkKnown(c, in)
		if got := len(Failed(c.list)); got != tt.want {
			t.Errorf("%s: %d problems, want %d: %v", tt.name, got, tt.want, c.list)
		}
	}
}
