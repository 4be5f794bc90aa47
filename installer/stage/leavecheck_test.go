package stage

import (
	"fmt"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/manifests"
)

// leavingChecks returns the checks of checkLeaving with this name, a line each.
func leavingChecks(in Input, name string) string {
	var out []string
	for _, c := range checkLeaving(in) {
		if c.Name == name {
			out = append(out, fmt.Sprintf("%s: %s", c.Verdict, c.Found))
		}
	}
	return strings.Join(out, "\n")
}

func TestBalancersThatLeave(t *testing.T) {
	for _, tt := range []struct {
		name string
		now  string // roles of h2; h1 keeps its own, h3 leaves
		runs []string
		want string
	}{
		{"one stays and runs", "load-balancer", []string{"h2 6443"}, "pass"},
		{"one stays and does not run", "load-balancer", nil, "warn: h3 leave and no balancer that runs stays"},
		{"one stays and does not run, the other does", "load-balancer", []string{"h3 6443"}, "fail: h3 leave and no balancer that runs stays"},
		{"an etcd takes the place of another", "load-balancer etcd", []string{"h1 6443"}, "warn: h3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := orderInput(2, 1, tt.runs...)
			in.Lock = &manifests.Lock{}
			in.Cluster.Hosts[1].Roles = nil
			for _, r := range strings.Fields(tt.now) {
				in.Cluster.Hosts[1].Roles = append(in.Cluster.Hosts[1].Roles, manifests.Role(r))
			}
			runs := in.Facts["h3"]
			in = applied(in, "control-plane etcd", "load-balancer", "load-balancer")
			in.Facts["h3"] = runs
			if got := leavingChecks(in, "balancer-stays"); !strings.HasPrefix(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestTopologyCheck: a topology that the usual rules refuse and cluster.yaml gives a reason
// for is still one that the user hears about.
func TestTopologyCheck(t *testing.T) {
	for _, tt := range []struct {
		etcd, cps int
		reason    string
		want      string
	}{
		{2, 1, "a drill", "warn 2 etcd members, 1 control planes (a drill)"},
		{3, 2, "a drill", "warn 3 etcd members, 2 control planes (a drill)"},
		{3, 3, "a drill", "pass"},
		{2, 2, "", ""},
	} {
		in := testInput(t, "1.36")
		in.Cluster.Hosts = orderInput(tt.etcd, tt.cps).Cluster.Hosts
		in.Cluster.TopologyReason = tt.reason
		c := &checks{}
		checkCluster(c, in)
		got := ""
		for _, x := range c.list {
			if x.Name == "topology" {
				got = string(x.Verdict) + " " + x.Found
			}
		}
		if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%d etcd, %d control planes: %q, want %q", tt.etcd, tt.cps, got, tt.want)
		}
	}
}
