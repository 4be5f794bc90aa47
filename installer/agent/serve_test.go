package agent_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// kubelet is the artifact of the small bundle that is stored compressed.
func kubelet(w *world) *step.Artifact {
	for _, a := range w.b.Lock.Artifacts {
		if a.Path == bundletest.KubeletPath {
			return &step.Artifact{Digest: a.Plain.Digest, Path: "/usr/local/bin/kubelet"}
		}
	}
	w.t.Fatal("no kubelet in the bundle")
	return nil
}

func TestInstallTwiceAndReset(t *testing.T) {
	w := newWorld(t, 1)
	w.Secrets["pki:x.key"] = "very secret"
	w.Write(t, "etc/foreign.conf", "foreign", 0o640)
	items := []step.Item{
		item("dir", &step.Directory{Path: "/var/lib/etcd", Mode: 0o700, Purge: true}),
		item("bin", kubelet(w)),
		item("conf", &step.File{Path: "/etc/foreign.conf", Content: "ours"}),
		item("key", &step.File{Path: "/etc/kubernetes/pki/x.key", Secret: "pki:x.key"}),
		{ID: "boot", Unless: "/etc/kubernetes/pki/x.key", Step: &step.File{Path: "/etc/boot", Content: "x"}},
	}
	before := w.Tree(t)

	events, err := w.do(w.request(agent.ModeCheck, items...))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"dir differs", "bin differs", "conf differs", "key differs", "boot differs"}
	if diff := cmp.Diff(want, states(events)); diff != "" {
		t.Errorf("check (-want +got):\n%s", diff)
	}
	events, err = w.do(w.request(agent.ModeApply, items...))
	if err != nil {
		t.Fatal(err)
	}
	want = []string{"dir changed", "bin changed", "conf changed", "key changed", "boot skipped"}
	if diff := cmp.Diff(want, states(events)); diff != "" {
		t.Errorf("apply (-want +got):\n%s", diff)
	}
	if got := w.Read(t, "usr/local/bin/kubelet"); got != strings.Repeat("kubelet ", 4096) {
		t.Errorf("kubelet has %d bytes", len(got))
	}
	journal := w.Read(t, "var/lib/offk8s/journal.jsonl")
	w.paths = nil
	events, err = w.do(w.request(agent.ModeApply, items...))
	if err != nil {
		t.Fatal(err)
	}
	want = []string{"dir ok", "bin ok", "conf ok", "key ok", "boot skipped"}
	if diff := cmp.Diff(want, states(events)); diff != "" {
		t.Errorf("second apply (-want +got):\n%s", diff)
	}
	if len(w.paths) != 0 {
		t.Errorf("second apply asked the mirror for %q", w.paths)
	}
	if w.Read(t, "var/lib/offk8s/journal.jsonl") != journal {
		t.Error("second apply wrote into the journal")
	}
	// A later version of a step keeps the first prior state.
	if _, err := w.do(w.request(agent.ModeApply, item("conf", &step.File{Path: "/etc/foreign.conf", Content: "newer"}))); err != nil {
		t.Fatal(err)
	}
	w.Write(t, "var/lib/etcd/member/wal", "data", 0o600)
	if _, err := w.do(w.request(agent.ModeUndo)); err != nil {
		t.Fatal(err)
	}
	after := w.Tree(t)
	for _, dir := range []string{"var", "var/lib", "var/cache"} {
		delete(before, dir)
		delete(after, dir)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("reset did not restore (-before +after):\n%s", diff)
	}
}

func TestFailureStopsAndNamesTheStep(t *testing.T) {
	w := newWorld(t, 1)
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) { return steptest.Exit(c.Argv, 2, "no space") }
	items := []step.Item{
		item("a", &step.File{Path: "/a", Content: "x"}),
		item("b", &step.Command{Argv: []string{"mkfs"}, Once: true}),
		item("c", &step.File{Path: "/c", Content: "x"}),
	}
	events, err := w.do(w.request(agent.ModeApply, items...))
	if !errors.Is(err, agent.ErrStep) || !strings.Contains(err.Error(), `"b"`) || !strings.Contains(err.Error(), "no space") {
		t.Errorf("error %v, want ErrStep that names step and cause", err)
	}
	if diff := cmp.Diff([]string{"a changed", "b failed", "c not run"}, states(events)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	end := events[len(events)-1]
	if !errors.Is(end.Err(), agent.ErrStep) {
		t.Errorf("the operator sees %v, want ErrStep", end.Err())
	}
}

func TestDryRunAfterPendingChanges(t *testing.T) {
	w := newWorld(t, 1)
	version := item("probe", &step.Command{Argv: []string{"kubectl", "version"}, Verify: true}) // not installed yet
	if _, err := w.do(w.request(agent.ModeCheck, version)); err == nil {
		t.Error("nothing is pending: want the error")
	}
	events, err := w.do(w.request(agent.ModeCheck, item("bin", kubelet(w)), version))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"bin differs", "probe differs"}, states(events)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	req := w.request(agent.ModeCheck, version)
	req.Pending = true
	if _, err := w.do(req); err != nil {
		t.Errorf("pending from an earlier stage: %v", err)
	}
}

func TestRequestRefused(t *testing.T) {
	w := newWorld(t, 1)
	for name, in := range map[string]string{
		"no JSON":       "hello",
		"old protocol":  `{"protocol":"offk8s-agent/0","mode":"facts"}`,
		"unknown field": `{"protocol":"` + agent.Protocol + `","mode":"facts","sudo":true}`,
		"unknown mode":  `{"protocol":"` + agent.Protocol + `","mode":"format"}`,
		"unknown kind":  `{"protocol":"` + agent.Protocol + `","mode":"check","items":[{"id":"a","kind":"shell","spec":{}}]}`,
		"ID twice": `{"protocol":"` + agent.Protocol + `","mode":"check","items":[` +
			`{"id":"a","kind":"swap","spec":{}},{"id":"a","kind":"swap","spec":{}}]}`,
	} {
		if _, err := w.send(t.Context(), strings.NewReader(in)); !errors.Is(err, agent.ErrRequest) {
			t.Errorf("%s: error %v, want ErrRequest", name, err)
		}
	}
}

func TestHostOfAnotherCluster(t *testing.T) {
	w := newWorld(t, 1)
	if _, err := w.do(w.request(agent.ModeApply, item("a", &step.File{Path: "/a"}))); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []agent.Mode{agent.ModeApply, agent.ModeUndo} {
		req := w.request(mode)
		req.Cluster = "other"
		if _, err := w.do(req); !errors.Is(err, agent.ErrPolicy) || !strings.Contains(err.Error(), `"lab"`) {
			t.Errorf("%s: error %v, want ErrPolicy that names the cluster", mode, err)
		}
	}
}

// Questions need neither lock nor bundle, and leave nothing on the host.
func TestProbe(t *testing.T) {
	w := newWorld(t, 1)
	before := w.Tree(t)
	asked := []probe.Probe{{Kind: probe.VRRP, Interface: "none such"}, {Kind: "other"}}
	events, err := w.do(agent.Request{Protocol: agent.Protocol, Mode: agent.ModeProbe, Probes: asked})
	if err != nil || len(events) != 2 || events[0].Type != agent.EventProbe || len(events[0].Answers) != len(asked) {
		t.Fatalf("events %+v, error %v; want the answers and the end", events, err)
	}
	for i, a := range events[0].Answers {
		if a.Probe != asked[i] || a.Error == "" {
			t.Errorf("answer %+v to %+v, want an error", a, asked[i])
		}
	}
	if diff := cmp.Diff(before, w.Tree(t)); diff != "" {
		t.Errorf("the host is changed (-before +after):\n%s", diff)
	}
}
