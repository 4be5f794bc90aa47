package stage

import (
	"fmt"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// orderInput is a cluster whose hosts run services on ports, "host port".
func orderInput(etcd, cps int, runs ...string) Input {
	c := &manifests.Cluster{Name: "lab"}
	for i := range max(etcd, cps) {
		h := manifests.Host{Name: fmt.Sprintf("h%d", i+1), Address: fmt.Sprintf("10.0.0.%d", i+1)}
		if i < etcd {
			h.Roles = append(h.Roles, manifests.RoleEtcd)
		}
		if i < cps {
			h.Roles = append(h.Roles, manifests.RoleControlPlane)
		}
		c.Hosts = append(c.Hosts, h)
	}
	in := Input{Cluster: c, Facts: map[string]facts.Facts{}}
	for _, r := range runs {
		var port int
		var name string
		_, _ = fmt.Sscanf(r, "%s %d", &name, &port)
		f := in.Facts[name]
		f.Installed = &facts.Installed{Cluster: "lab"}
		f.Listening = append(f.Listening, facts.Listener{Protocol: "tcp", Port: port})
		in.Facts[name] = f
	}
	return in
}

// A first installation is parallel; services that run restart after each other.
func TestOrder(t *testing.T) {
	foreign := orderInput(3, 1)
	foreign.Facts["h1"] = facts.Facts{Listening: []facts.Listener{{Protocol: "tcp", Port: 2379}}}
	for _, tt := range []struct {
		name               string
		in                 Input
		etcd, cps, runtime int
	}{
		{"first", orderInput(3, 1), 0, 0, 0},
		{"an etcd that is not ours", foreign, 0, 0, 0},
		{"etcd runs on one", orderInput(3, 1, "h2 2379"), 1, 0, 0},
		{"an API server runs", orderInput(3, 1, "h1 6443"), 0, 1, 0},
		{"a kubelet runs", orderInput(3, 1, "h1 10250"), 0, 0, someAtATime},
	} {
		if e, c, n := etcdAtATime(tt.in), controlPlanesAtATime(tt.in), nodesAtATime(tt.in); e != tt.etcd || c != tt.cps || n != tt.runtime {
			t.Errorf("%s: etcd %d, control planes %d, nodes %d; want %d, %d, %d", tt.name, e, c, n, tt.etcd, tt.cps, tt.runtime)
		}
	}
}

// The gate of a member asks for a quorum without it, and is seen from a host that
// runs etcd and is there.
func TestEtcdGate(t *testing.T) {
	for _, tt := range []struct {
		members  int
		runs     []string
		away     string
		need     int
		on, whom string
	}{
		{3, []string{"h1 2379", "h2 2379", "h3 2379"}, "", 2, "h3 h2", "10.0.0.2 10.0.0.3"},
		{3, []string{"h1 2379", "h3 2379"}, "", 2, "h3 h2", "10.0.0.2 10.0.0.3"},
		{3, []string{"h1 2379", "h2 2379", "h3 2379"}, "h2", 2, "h3", "10.0.0.2 10.0.0.3"},
		{5, []string{"h1 2379", "h5 2379"}, "", 3, "h5 h4 h3 h2", "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5"},
		{2, []string{"h1 2379", "h2 2379"}, "", 1, "h2", "10.0.0.2"},
		{1, []string{"h1 2379"}, "", 0, "", ""},
	} {
		in := orderInput(tt.members, 1, tt.runs...)
		in.Away = map[string]bool{tt.away: true}
		gates := etcdBefore(in, in.Cluster.Hosts[0])
		if len(gates) == 0 {
			if tt.need > 0 {
				t.Errorf("%+v: no gate", tt)
			}
			continue
		}
		q := gates[0].Item.Step.(*step.EtcdQuorum)
		if err := gates[0].Item.Validate(); err != nil {
			t.Errorf("%+v: %v", tt, err)
		}
		whom := strings.NewReplacer("https://", "", ":2379", "").Replace(strings.Join(q.Members, " "))
		if on := strings.Join(gates[0].On, " "); q.Need != tt.need || on != tt.on || whom != tt.whom {
			t.Errorf("%+v: need %d of %s, seen from %s", tt, q.Need, whom, on)
		}
	}
}

// A member that joins needs a quorum of the members that there are, not of those to come.
func TestEtcdGateOfANewMember(t *testing.T) {
	for now, want := range map[int]string{1: "1 of 10.0.0.1", 2: "2 of 10.0.0.1 10.0.0.2", 3: "2 of 10.0.0.1 10.0.0.2 10.0.0.3"} {
		var runs []string
		var list []step.EtcdMember
		for i := range now {
			runs = append(runs, fmt.Sprintf("h%d 2379", i+1))
			list = append(list, step.EtcdMember{Name: "x", PeerURLs: []string{fmt.Sprintf("https://10.0.0.%d:2380", i+1)}})
		}
		in := orderInput(5, 1, runs...)
		for _, h := range in.Cluster.Hosts[:now] {
			f := in.Facts[h.Name]
			f.Etcd = list
			in.Facts[h.Name] = f
		}
		q := etcdBefore(in, in.Cluster.Hosts[4])[0].Item.Step.(*step.EtcdQuorum)
		got := fmt.Sprint(q.Need, " of ", strings.NewReplacer("https://", "", ":2379", "").Replace(strings.Join(q.Members, " ")))
		if got != want {
			t.Errorf("%d members: a new one needs %s, want %s", now, got, want)
		}
		// The first restarts after the new ones have joined.
		if q := etcdBefore(in, in.Cluster.Hosts[0])[0].Item.Step.(*step.EtcdQuorum); q.Need != 3 || len(q.Members) != 4 {
			t.Errorf("%d members: the first needs %d of %d", now, q.Need, len(q.Members))
		}
	}
}

func TestEnough(t *testing.T) {
	for _, tt := range []struct {
		etcd, cps int
		away      []string
		want      string
	}{
		{3, 1, nil, ""},
		{3, 1, []string{"h2"}, ""},
		{3, 1, []string{"h2", "h3"}, "1 of 3 etcd members"},
		{3, 1, []string{"h1"}, "no control plane"},
		{3, 3, []string{"h1"}, ""},
		{1, 1, []string{"h1"}, "0 of 1 etcd members"},
	} {
		in := orderInput(tt.etcd, tt.cps)
		in.Away = map[string]bool{}
		for _, a := range tt.away {
			in.Away[a] = true
		}
		err := Enough(in)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d members, %d control planes, away %v: error %v, want %q", tt.etcd, tt.cps, tt.away, err, tt.want)
		}
	}
}
