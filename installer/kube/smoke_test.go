package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

func testSmoke(t *testing.T) *Smoke {
	t.Helper()
	return &Smoke{
		Image: "offk8s.dev/smoke:test", Digest: steptest.New(t).Artifact("x"), Nodes: []string{"n1"},
		Domain: "cluster.local", Fingerprint: "f", Timeout: step.Duration(20 * time.Millisecond),
	}
}

// A part that fails is named, with what the cluster says, and its namespaces go.
func TestSmokeFailure(t *testing.T) {
	f, w := newCluster(t)
	var deleted int
	f.on = func(args []string) {
		if args[0] == "delete" && slices.Contains(args, smokeA) {
			deleted++
		}
		if args[0] == "get" && strings.HasSuffix(args[1], "/pods") {
			f.put(`{"kind":"Pod","metadata":{"name":"web-1","namespace":"` + smokeA + `"},"status":{"phase":"Running"}}`)
		}
	}
	s := testSmoke(t)
	_, err := s.Apply(t.Context(), w.Env())
	if err == nil {
		t.Fatal("a Deployment without pods passes")
	}
	for _, want := range []string{"Deployments behind Services", "Deployment offk8s-smoke-a/web", "web-1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	if deleted != 2 {
		t.Errorf("namespaces were deleted %d times, want before and after", deleted)
	}
	if res, _ := s.Check(t.Context(), w.Env()); res.State != step.Differs {
		t.Error("counts as passed")
	}
}

// The parts of a group start before the test waits for the first of them. What fails is
// named, and nothing after it runs.
func TestSmokeGroup(t *testing.T) {
	bad := errors.New("refused")
	for _, tt := range []struct{ startFails, endFails, want, err string }{
		{"", "", "start a, start b, end a, end b", ""},
		{"b", "", "start a, start b", "smoke: b: refused"},
		{"", "a", "start a, start b, end a", "smoke: a: refused"},
	} {
		var log []string
		part := func(name string) smokePart {
			step := func(what, fails string) error {
				log = append(log, what+" "+name)
				if fails == name {
					return bad
				}
				return nil
			}
			return smokePart{name, func(context.Context) (smokeEnd, error) {
				return func(context.Context) error { return step("end", tt.endFails) }, step("start", tt.startFails)
			}}
		}
		r := &smokeRun{env: steptest.New(t).Env()}
		err := r.group(t.Context(), []smokePart{part("a"), part("b")})
		if got := strings.Join(log, ", "); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
		if fmt.Sprint(err) != cmp.Or(tt.err, "<nil>") {
			t.Errorf("error %v, want %s", err, tt.err)
		}
	}
}

// One proof lasts until what was installed changes.
func TestSmokeOnce(t *testing.T) {
	w := steptest.New(t)
	env := w.Env()
	s := testSmoke(t)
	if err := env.SetStamp(smokeStamp, "f"); err != nil {
		t.Fatal(err)
	}
	if res, err := s.Check(t.Context(), env); err != nil || res.State != step.OK {
		t.Errorf("same: %+v, %v", res, err)
	}
	s.Fingerprint = "g"
	if res, err := s.Check(t.Context(), env); err != nil || res.State != step.Differs {
		t.Errorf("changed: %+v, %v", res, err)
	}
	if err := s.Undo(t.Context(), env, nil); err != nil || env.Stamp(smokeStamp) != "" {
		t.Errorf("undo: %v", err)
	}
}

// Pods of the smoke test run by digest and with as few rights as any user's.
func TestSmokePods(t *testing.T) {
	r := &smokeRun{Smoke: testSmoke(t)}
	for _, o := range []object{r.deployment(smokeA, 2), r.everywhere()} {
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`"image":"offk8s.dev/smoke@sha256:`, `"runAsNonRoot":true`, `"allowPrivilegeEscalation":false`,
			`"drop":["ALL"]`, `"readOnlyRootFilesystem":true`, `"automountServiceAccountToken":false`, `"apiVersion":"apps/v1"`,
		} {
			if !strings.Contains(string(b), want) {
				t.Errorf("no %s in %s", want, b)
			}
		}
	}
}

// A DaemonSet has a pod for a node that is away too, without an address.
func TestSmokeTargets(t *testing.T) {
	r := &smokeRun{Smoke: &Smoke{Nodes: []string{"n2", "n3"}}}
	pods := make([]podStatus, 3)
	pods[0].Spec.NodeName = "n1"
	pods[1].Spec.NodeName, pods[1].Status.PodIP = "n2", "10.244.1.2"
	pods[2].Spec.NodeName, pods[2].Status.PodIP = "n3", "10.244.2.2"
	if got, want := r.targets(pods), []string{"http://10.244.1.2:8080/", "http://10.244.2.2:8080/"}; !slices.Equal(got, want) {
		t.Errorf("targets %q, want %q", got, want)
	}
}

// Pods of nodes that are away end with nobody's help but ours.
func TestSmokeRemovesLostPods(t *testing.T) {
	f, w := newCluster(t)
	for _, n := range []string{"n1", "n2"} {
		f.put(`{"kind":"Pod","metadata":{"name":"on-` + n + `","namespace":"` + smokeA + `"},"spec":{"nodeName":"` + n + `"}}`)
	}
	var deleted []string
	f.on = func(args []string) {
		if args[0] == "delete" {
			deleted = append(deleted, args[2])
		}
	}
	r := &smokeRun{Smoke: testSmoke(t), env: w.Env()}
	if err := r.removeLost(t.Context(), smokeA); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(deleted, []string{"on-n2"}) {
		t.Errorf("deleted %q, want the pod of the node that is not there", deleted)
	}
}
