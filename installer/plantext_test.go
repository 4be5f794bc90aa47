package installer

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
)

func TestHostList(t *testing.T) {
	var all []string
	for i := range 12 {
		all = append(all, fmt.Sprintf("n-%d", i))
	}
	tests := []struct {
		some []string
		want string
	}{
		{all[:1], "n-0"},
		{all[:2], "n-0, n-1 (2)"},
		{all, "all hosts (12)"},
		{all[2:], "all hosts but n-0, n-1 (10)"},
		{all[:8], "n-0, n-1, n-2, n-3, n-4, n-5, n-6, n-7 (8)"},
	}
	for _, tt := range tests {
		if got := hostList(tt.some, all); got != tt.want {
			t.Errorf("hostList(%v) = %q, want %q", tt.some, got, tt.want)
		}
	}
	if got := hostList(all[:1], all[:1]); got != "n-0" {
		t.Errorf("the only host is %q", got)
	}
}

// Steps that are equal on several hosts are written once, the rest below its host; within a
// group the order stays.
func TestPlanTextGroups(t *testing.T) {
	file := func(p, why string) step.Item {
		return step.Item{ID: p, Why: why, Step: &step.File{Path: p, Mode: 0o644}}
	}
	worker := []string{"worker"}
	p := &Plan{Cluster: "c", Bundle: "b", Kubernetes: "1.36.3", members: []facts.Member{
		{Name: "cp-1", Roles: []string{"etcd", "control-plane"}}, {Name: "w-1", Roles: worker}, {Name: "w-2", Roles: worker},
	}, Stages: []PlanStage{
		{Name: "one", Title: "the one", Hosts: []PlanHost{
			{Host: "cp-1", Items: []step.Item{file("/a", ""), file("/cp", ""), file("/z", "")}},
			{Host: "w-1", Items: []step.Item{file("/a", ""), file("/w", "because"), file("/z", "")}},
			{Host: "w-2", Items: []step.Item{file("/a", ""), file("/w", "because"), file("/z", "")}},
		}},
		{Name: "two", Title: "the two", Hosts: []PlanHost{{Host: "w-2", Items: []step.Item{file("/b", "")}}}},
	}}
	const want = `cluster c, Kubernetes 1.36.3, bundle b
hosts: 3, stages: 2, steps: 10
  cp-1: control-plane, etcd
  w-1, w-2 (2): worker

one: the one
  all hosts (3)
    file /a 0644
    file /z 0644
  cp-1
    file /cp 0644
  w-1, w-2 (2)
    file /w 0644
      because

two: the two
  w-2
    file /b 0644
`
	var text bytes.Buffer
	if err := p.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	const wantOne = `cluster c, Kubernetes 1.36.3, bundle b
hosts: 1, stages: 1, steps: 3
  cp-1: control-plane, etcd

one: the one
  cp-1
    file /a 0644
    file /cp 0644
    file /z 0644
`
	text.Reset()
	if err := p.Only("cp-1").WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantOne, text.String()); diff != "" {
		t.Errorf("one host (-want +got):\n%s", diff)
	}
	if len(p.Stages[0].Hosts) != 3 {
		t.Error("Only changed the plan")
	}
}

// Lines that differ only by the name of their host are one.
func TestPlanTextOwnNames(t *testing.T) {
	g := newGrouped([]string{"cp-1", "cp-2", "etcd"})
	for _, h := range g.hosts {
		g.add(h, "hostname "+h)
		g.add(h, "file /etc/etcd/pki 0600")
	}
	g.add("cp-1", "wait: etcd member cp-1, not cp-10, is healthy")
	g.add("cp-2", "wait: the clock follows cp-1")
	const want = `all hosts (3)
  hostname HOST
  file /etc/etcd/pki 0600
cp-1
  wait: etcd member cp-1, not cp-10, is healthy
cp-2
  wait: the clock follows cp-1
`
	var text bytes.Buffer
	g.write(&text, "")
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestReportText(t *testing.T) {
	differs := func(id, reason string) StepReport {
		return StepReport{ID: id, Describe: "file " + id, State: step.Differs, Reason: reason}
	}
	r := &Report{Mode: agent.ModeCheck, Hosts: []HostReport{
		{Host: "a", OK: 3, Differs: 2, Steps: []StepReport{differs("/x", "missing"), differs("/y", ""), {ID: "/f", State: step.Failed, Reason: "boom"}}, Error: "boom"},
		{Host: "b", Differs: 1, Steps: []StepReport{differs("/x", "missing"), {ID: "/c", State: step.Changed}, {ID: "/n", State: agent.NotRun}, {ID: "/u", State: step.Failed, Reason: "busy"}}, Error: "1 of 9", Stays: []string{"chrony"}, Gone: []string{"systemd-timesyncd"}},
	}}
	const want = `all hosts (2)
  would change: file /x (missing)
a
  would change: file /y
b
  failed: /u (busy)
b
  stay installed: chrony
  were removed for them by apt, install them again if you want them: systemd-timesyncd
a: ok 3, would change 2, verified 0, skipped 0, failed 0, not run 0
b: ok 0, would change 1, verified 0, skipped 0, failed 0, not run 0
`
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteCounts(&text); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}
