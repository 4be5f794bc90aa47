package kube

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// do checks and applies a step, as the agent does, and returns the reason.
func do(t *testing.T, w *steptest.World, s step.Step) string {
	t.Helper()
	env := w.Env()
	res, err := s.Check(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	if res.State == step.OK {
		return ""
	}
	if _, err := s.Apply(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Check(t.Context(), env); err != nil || again.State != step.OK {
		t.Fatalf("check after apply: %s %q, error %v", again.State, again.Reason, err)
	}
	return res.Reason
}

// prune undoes a step while the cluster stays.
func prune(t *testing.T, w *steptest.World, s step.Step) {
	t.Helper()
	env := w.Env()
	env.Kept = []step.Step{}
	if err := s.Undo(t.Context(), env, []byte("{}")); err != nil {
		t.Fatal(err)
	}
}

// live returns the labels and taints of a node.
func (f *fakeCluster) live(name string) string {
	o := f.objects[key("node", "", name)]
	var taints []string
	if spec, ok := o["spec"].(map[string]any); ok {
		for _, x := range spec["taints"].([]any) {
			t := x.(map[string]any)
			taints = append(taints, fmt.Sprint(t["key"], ":", t["effect"]))
		}
	}
	return fmt.Sprint(o["metadata"].(map[string]any)["labels"], taints)
}

// Labels and taints that leave cluster.yaml leave the node; those of others stay.
func TestNodeLosesWhatItHadFromUs(t *testing.T) {
	f, w := newCluster(t)
	f.put(`{"kind":"Node","metadata":{"name":"n1","labels":{"foreign":"x"}},"spec":{"taints":[{"key":"foreign","effect":"NoSchedule"}]}}`)
	before := f.live("n1")
	first := &Node{Name: "n1", Labels: map[string]string{"zone": "a", "gpu": "yes"}, Taints: []string{"gpu=yes:NoExecute", "old:NoSchedule"}}
	do(t, w, first)
	if reason := do(t, w, first); reason != "" {
		t.Errorf("second run: %s", reason)
	}
	smaller := &Node{Name: "n1", Labels: map[string]string{"zone": "b"}, Taints: []string{"gpu=no:NoExecute"}}
	want := "missing: label zone, taint gpu=no:NoExecute; no longer wanted: label gpu; no longer wanted: taint old:NoSchedule"
	if got := do(t, w, smaller); got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	if got, want := f.live("n1"), "map[foreign:x zone:b] [foreign:NoSchedule gpu:NoExecute]"; got != want {
		t.Errorf("node has %s, want %s", got, want)
	}
	// Somebody removes a label by hand before it leaves cluster.yaml.
	delete(f.objects[key("node", "", "n1")]["metadata"].(map[string]any)["labels"].(map[string]any), "zone")
	do(t, w, &Node{Name: "n1", Taints: []string{"gpu=no:NoExecute"}})
	// A reset leaves the cluster alone: it goes as a whole.
	f.calls = nil
	if err := smaller.Undo(t.Context(), w.Env(), []byte("{}")); err != nil || len(f.calls) > 0 {
		t.Errorf("reset: error %v, calls %q", err, f.calls)
	}
	prune(t, w, smaller)
	if got := f.live("n1"); got != before {
		t.Errorf("node has %s, want %s as before", got, before)
	}
	prune(t, w, &Node{Name: "gone"})
}

// A run that is cut after any call forgets no label.
func TestNodeCutAfterEachCall(t *testing.T) {
	first := &Node{Name: "n1", Labels: map[string]string{"a": "1", "b": "1"}, Taints: []string{"a:NoSchedule", "b:NoSchedule"}}
	second := &Node{Name: "n1", Labels: map[string]string{"c": "1"}, Taints: []string{"c:NoSchedule"}}
	for cut := range 6 {
		f, w := newCluster(t)
		f.put(readyNode("n1"))
		do(t, w, first)
		left := cut
		run := w.Programs
		w.Programs = func(ctx context.Context, c step.Cmd) (step.Output, error) {
			if left == 0 {
				return steptest.Exit(c.Argv, 1, "cut")
			}
			left--
			return run(ctx, c)
		}
		_, _ = second.Apply(t.Context(), w.Env())
		w.Programs = run
		do(t, w, second)
		if got, want := f.live("n1"), "map[c:1] [c:NoSchedule]"; got != want {
			t.Errorf("cut after %d calls: %s, want %s", cut, got, want)
		}
	}
}

func (f *fakeCluster) names() string {
	var out []string
	for _, k := range sorted(f.objects) {
		if !strings.HasPrefix(k, "configmap kube-system/") {
			out = append(out, k)
		}
	}
	return strings.Join(out, ", ")
}

// Objects that leave a step are deleted, unless another step has them or they hold what
// users made.
func TestApplyDeletesWhatLeaves(t *testing.T) {
	const (
		ns    = `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n"}}`
		ds    = `{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"d","namespace":"n"}}`
		role  = `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"r"}}`
		moved = `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"s","namespace":"n"}}`
	)
	f, w := newCluster(t)
	f.put(`{"kind":"ConfigMap","metadata":{"name":"foreign","namespace":"n"}}`)
	do(t, w, &Apply{Text: "x", Objects: raw(ns, ds, role, moved)})
	do(t, w, &Apply{Text: "The other", Objects: raw(moved)})
	smaller := &Apply{Text: "x", Objects: raw(ds)}
	want := "ServiceAccount n/s is no longer wanted; ClusterRole r is no longer wanted; Namespace n is no longer wanted"
	if got := do(t, w, smaller); got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	if got, want := f.names(), "configmap n/foreign, daemonset n/d, namespace /n, serviceaccount n/s"; got != want {
		t.Errorf("objects %s, want %s", got, want)
	}
	if reason := do(t, w, smaller); reason != "" {
		t.Errorf("second run: %s", reason)
	}
	f.calls = nil
	if err := smaller.Undo(t.Context(), w.Env(), nil); err != nil || len(f.calls) > 0 {
		t.Errorf("reset: error %v, calls %q", err, f.calls)
	}
	prune(t, w, smaller)
	if got, want := f.names(), "configmap n/foreign, namespace /n, serviceaccount n/s"; got != want {
		t.Errorf("objects %s, want %s", got, want)
	}
	if _, ok := f.objects[key("configmap", inventoryNamespace, "offk8s-objects-x")]; ok {
		t.Error("its list is still there")
	}
}

// A host that is no control plane any more leaves the cluster's objects alone.
func TestUndoOnAFormerControlPlane(t *testing.T) {
	f, w := newCluster(t)
	a := &Apply{Text: "x", Objects: raw(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n"}}`)}
	do(t, w, a)
	if err := os.Remove(filepath.Join(w.Root, AdminConf)); err != nil {
		t.Fatal(err)
	}
	f.calls = nil
	env := w.Env()
	env.Kept = []step.Step{}
	if err := a.Undo(t.Context(), env, nil); err != nil || len(f.calls) > 0 {
		t.Errorf("error %v, calls %q", err, f.calls)
	}
}

// An API that no longer serves a kind has no objects of it.
func TestRemoveOfAnUnknownKind(t *testing.T) {
	_, w := newCluster(t)
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		return steptest.Exit(c.Argv, 1, `error: the server doesn't have a resource type "PodSecurityPolicy"`)
	}
	e := inventoryEntry{Group: "policy", Kind: "PodSecurityPolicy", Name: "p"}
	if err := e.remove(t.Context(), w.Env()); err != nil {
		t.Error(err)
	}
	if got, want := strings.Join(w.Calls[0][3:], " "), "delete --ignore-not-found --wait=false PodSecurityPolicy.policy p"; got != want {
		t.Errorf("kubectl %s, want %s", got, want)
	}
}
