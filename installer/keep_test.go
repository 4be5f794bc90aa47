package installer_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
)

// A journal keeps what is planned for its host, and what any host does to the cluster.
func TestWanted(t *testing.T) {
	file := func(id string) step.Item { return step.Item{ID: id, Step: &step.File{Path: "/" + id}} }
	p := &installer.Plan{Stages: []installer.PlanStage{
		{Name: "one", Hosts: []installer.PlanHost{{Host: "a", Items: []step.Item{file("x"), file("a")}}, {Host: "b", Items: []step.Item{file("x"), file("b")}}}},
		{Name: "two", AnyOf: true, Hosts: []installer.PlanHost{{Host: "a", Items: []step.Item{{ID: "labels", Step: &kube.Node{Name: "n"}}, file("led")}}}},
	}}
	ids := func(items []step.Item) (out []string) {
		for _, it := range items {
			out = append(out, it.ID)
		}
		return out
	}
	for host, want := range map[string][]string{
		"a": {"x", "a", "labels", "led"}, "b": {"x", "b", "labels"}, "c": {"labels"},
	} {
		if diff := cmp.Diff(want, ids(p.Wanted(host))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", host, diff)
		}
	}
}
