package installer_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// remember makes the journals of all hosts say that they were in the lab's cluster.
func (l *lab) remember() {
	l.t.Helper()
	members, _ := stage.Members(stage.Input{Cluster: l.cluster})
	for name, h := range l.hosts {
		owner := facts.Installed{Cluster: l.cluster.Name, Host: name, Hosts: members, Time: time.Unix(1, 0)}
		line, err := json.Marshal(map[string]any{"op": "owner", "time": time.Unix(1, 0), "owner": owner})
		if err != nil {
			l.t.Fatal(err)
		}
		h.world.Write(l.t, "/var/lib/offk8s/journal.jsonl", string(line)+"\n", 0o600)
	}
}

// A host that leaves cluster.yaml is restored; a step that leaves the plan is undone
// on the hosts that stay.
func TestHostAndStepsLeave(t *testing.T) {
	l := newLab(t, "a", "b", "c")
	l.remember()
	before := l.hosts["c"].world.Tree(t)
	first := l.connect()
	if _, err := installer.Run(t.Context(), l.plan(files("one"), files("two")), first, installer.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	whole := l.cluster.Hosts
	l.cluster.Hosts = whole[:2]
	op := stage.Operation{Name: "test", Stages: []stage.Stage{
		{Name: "leave", Title: "leave", Hosts: stage.Leaving, Work: stage.Undo, Leaves: true},
		files("one"),
		{Name: "prune", Title: "prune", Work: stage.Prune},
	}}
	f := l.connect()
	in := l.seen(f)
	plan, err := installer.NewPlan(in, op)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := plan.WriteText(&text); err != nil || !strings.Contains(text.String(), "undo everything that offk8s changed") ||
		!strings.Contains(text.String(), ": leaves the cluster\n") {
		t.Errorf("plan, error %v:\n%s", err, text.String())
	}
	trees := func() map[string]string {
		out := map[string]string{}
		for n, h := range l.hosts {
			for k, v := range h.world.Tree(t) {
				if strings.HasPrefix(k, "etc") {
					out[n+" "+k] = v
				}
			}
		}
		return out
	}
	was := trees()
	dry, err := installer.Run(t.Context(), plan, f, installer.RunOptions{DryRun: true})
	if err != nil || dry.Pending() != 5 || !maps.Equal(was, trees()) {
		t.Fatalf("dry run: %d pending, want 5 (a host, two steps on two hosts); error %v; changed: %t", dry.Pending(), err, !maps.Equal(was, trees()))
	}
	if rep, err := installer.Run(t.Context(), plan, f, installer.RunOptions{}); err != nil || !rep.Done {
		t.Fatal(err)
	}
	after := l.hosts["c"].world.Tree(t)
	for k := range before {
		if strings.HasPrefix(k, "etc") && after[k] != before[k] {
			t.Errorf("c: %s is %q, was %q", k, after[k], before[k])
		}
	}
	for _, n := range []string{"a", "b", "c"} {
		tree := l.hosts[n].world.Tree(t)
		_, one := tree["etc/one/a"]
		_, two := tree["etc/two/a"]
		if one != (n != "c") || two {
			t.Errorf("%s: the step that is wanted is there: %t, the other: %t", n, one, two)
		}
	}
	if rep, err := installer.Run(t.Context(), l.planOf(op, l.seen(f)), f, installer.RunOptions{}); err != nil || rep.Changed() != 0 {
		t.Errorf("second run changed %d, error %v", rep.Changed(), err)
	}
}

// A run with a state directory that knows no sealed copy leaves the copy on a control
// plane; a host that is no control plane any more loses it.
func TestSealedCopyStays(t *testing.T) {
	l := newLab(t, "cp-1", "cp-2")
	for i := range l.cluster.Hosts {
		l.cluster.Hosts[i].Roles = []manifests.Role{manifests.RoleControlPlane, manifests.RoleWorker}
	}
	with := func(h manifests.Host) []step.Item {
		return []step.Item{{ID: stage.StateCopyID, Step: &step.File{Path: stage.StateCopy, Content: "sealed"}}}
	}
	f := l.connect()
	if _, err := installer.Run(t.Context(), l.plan(each("pki", with)), f, installer.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	l.cluster.Hosts[1].Roles = []manifests.Role{manifests.RoleWorker}
	plan := l.plan(files("one"), stage.Stage{Name: "prune", Title: "prune", Work: stage.Prune})
	if _, err := installer.Run(t.Context(), plan, f, installer.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[string]bool{"cp-1": true, "cp-2": false} {
		if _, ok := l.hosts[n].world.Tree(t)[strings.TrimPrefix(stage.StateCopy, "/")]; ok != want {
			t.Errorf("%s has the copy: %v, want %v", n, ok, want)
		}
	}
}

// seen returns the input of a plan with the facts of the hosts.
func (l *lab) seen(f *installer.Fleet) stage.Input {
	l.t.Helper()
	in, _, _ := f.Preflight(l.t.Context(), stage.Input{Cluster: l.cluster, Lock: &manifests.Lock{}}) // the lock supports nothing
	return in
}

func (l *lab) planOf(op stage.Operation, in stage.Input) *installer.Plan {
	l.t.Helper()
	plan, err := installer.NewPlan(in, op)
	if err != nil {
		l.t.Fatal(err)
	}
	return plan
}

// A run that ends before a host has left does not forget it: the journals of the
// others still have it. After it has left they do not.
func TestLeavingIsFinishedLater(t *testing.T) {
	l := newLab(t, "a", "b", "c")
	l.cluster.Hosts[0].Roles = []manifests.Role{manifests.RoleControlPlane}
	l.remember()
	l.cluster.Hosts = l.cluster.Hosts[:2]
	op := stage.Operation{Name: "test", Stages: []stage.Stage{
		files("one"),
		{Name: "leave", Title: "leave", Hosts: stage.Leaving, Work: stage.Undo, Leaves: true},
		files("two"),
	}}
	f := l.connect()
	if _, err := installer.Run(t.Context(), l.planOf(op, l.seen(f)), f, installer.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	recorded := map[string]int{}
	for _, r := range l.hosts["a"].requests {
		if len(r.Items) > 0 {
			recorded[string(r.Items[0])] = len(r.Hosts)
		}
	}
	for item, hosts := range recorded {
		want := 2
		if strings.Contains(item, "one/") {
			want = 3
		}
		if hosts != want {
			t.Errorf("with %s %d hosts are recorded, want %d", item, hosts, want)
		}
	}
}

// An agent refuses the work of another host of its cluster.
func TestHostWithAnotherName(t *testing.T) {
	l := newLab(t, "a", "b")
	l.remember()
	l.hosts["a"], l.hosts["b"] = l.hosts["b"], l.hosts["a"]
	_, err := installer.Run(t.Context(), l.plan(files("one")), l.connect(), installer.RunOptions{})
	if err == nil || !strings.Contains(err.Error(), `this host is "b" of the cluster, not "a"`) {
		t.Errorf("error %v", err)
	}
}
