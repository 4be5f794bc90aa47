package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// Kinds fit into the agent's list and know their own names.
func TestKinds(t *testing.T) {
	for name, build := range Kinds() {
		if got := build().Kind(); got != name {
			t.Errorf("kind %q is listed as %q", got, name)
		}
		if _, ok := step.All()[name]; ok {
			t.Errorf("kind %q is in package step too", name)
		}
	}
}

// Steps work with the credential that no access rule can take away. A cluster of an older
// offk8s has it from the stage pki on.
func TestCredentialOfTheSteps(t *testing.T) {
	w := steptest.New(t)
	w.Programs = func(context.Context, step.Cmd) (step.Output, error) { return steptest.Say("") }
	w.Write(t, AdminConf, "", 0o600)
	for _, want := range []string{AdminConf, SuperConf} {
		if got := admin(w.Env()).Kubeconfig; got != want {
			t.Errorf("credential %s, want %s", got, want)
		}
		if _, err := (&Drain{Name: "n"}).Apply(t.Context(), w.Env()); err != nil || w.Calls[len(w.Calls)-1][2] != want {
			t.Errorf("drain: error %v, calls %q, want %s", err, w.Calls, want)
		}
		w.Write(t, SuperConf, "", 0o600)
	}
}

func raw(texts ...string) []json.RawMessage {
	var out []json.RawMessage
	for _, s := range texts {
		out = append(out, json.RawMessage(s))
	}
	return out
}

func TestSuite(t *testing.T) {
	cm := `{"apiVersion":"v1","data":{"a":"1"},"kind":"ConfigMap","metadata":{"name":"c","namespace":"n"}}`
	_, apply := newCluster(t)
	steptest.Suite(t, steptest.Case{
		Name: "apply", World: apply, Kinds: Kinds(), Step: &Apply{Objects: raw(cm), Text: "test"},
	})
	f, node := newCluster(t)
	f.put(readyNode("n1"))
	steptest.Suite(t, steptest.Case{
		Name: "node", World: node, Kinds: Kinds(),
		Step: &Node{Name: "n1", Labels: map[string]string{"role/x": ""}, Taints: []string{"role/x=:NoSchedule"}},
	})
	_, token := newCluster(t)
	token.Secrets["token:bootstrap"] = "abcdef.0123456789abcdef"
	steptest.Suite(t, steptest.Case{
		Name: "token", World: token, Kinds: Kinds(), Step: &Token{Ref: "token:bootstrap", Nodes: []string{"n1"}},
	})
}

// Before there is an API server a check reports a difference, and no error: a
// dry run on a bare host shows the whole plan.
func TestChecksOnBareHost(t *testing.T) {
	w := steptest.New(t)
	w.Secrets["t"] = "abcdef.0123456789abcdef"
	for _, s := range []step.Step{
		&Apply{Objects: raw(`{"kind":"X","metadata":{"name":"x"}}`)}, &Rollout{Workloads: []ObjectKey{{"Deployment", "n", "x"}}},
		&Nodes{Names: []string{"n"}}, &Node{Name: "n"}, &ServingCertificates{CAFile: "/etc/ca.crt"}, &Token{Ref: "t", Nodes: []string{"n"}},
		&TokenGone{}, &Smoke{Fingerprint: "x"}, &step.Image{Name: "a/b:c", Digest: "sha256:0"},
	} {
		res, err := s.Check(t.Context(), w.Env())
		if err != nil || res.State != step.Differs || res.Reason == "" {
			t.Errorf("%s: %+v, %v", s.Kind(), res, err)
		}
	}
}

func TestDifference(t *testing.T) {
	tests := []struct{ name, want, have, where string }{
		{"defaults beside", `{"spec":{"a":1}}`, `{"spec":{"a":1,"b":2},"status":{}}`, ""},
		{"other value", `{"spec":{"a":1}}`, `{"spec":{"a":2}}`, ` has spec.a "2", want "1"`},
		{"missing", `{"spec":{"a":{"b":1}}}`, `{"spec":{}}`, " has no spec.a"},
		{"list element's defaults", `{"l":[{"n":"x"}]}`, `{"l":[{"n":"x","p":1}]}`, ""},
		{"longer list", `{"l":[1]}`, `{"l":[1,2]}`, ` has l "[1 2]", want "[1]"`},
		{"quantities", `{"cpu":"1000m","mem":"1Gi","n":1}`, `{"cpu":"1","mem":"1024Mi","n":"1"}`, ""},
		{"other quantity", `{"cpu":"100m"}`, `{"cpu":"1"}`, ` has cpu "1", want "100m"`},
		{"empty values are dropped", `{"a":"","b":[],"c":{},"d":false,"e":0}`, `{}`, ""},
		{"an empty value is not any value", `{"a":""}`, `{"a":"x"}`, ` has a "x", want ""`},
		{"written, never read", `{"stringData":{"a":"b"}}`, `{}`, ""},
		{"served under another version", `{"apiVersion":"v1beta1","kind":"X"}`, `{"apiVersion":"v1","kind":"X"}`, ""},
		{"a nested kind counts", `{"roleRef":{"kind":"Role"}}`, `{"roleRef":{"kind":"ClusterRole"}}`, ` has roleRef.kind "ClusterRole", want "Role"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var want, have any
			if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(tt.have), &have); err != nil {
				t.Fatal(err)
			}
			if got := difference(want, have, ""); got != tt.where {
				t.Errorf("got %q, want %q", got, tt.where)
			}
		})
	}
}

// Drift is named; additions of the server are not.
func TestApplyNamesDrift(t *testing.T) {
	f, w := newCluster(t)
	f.put(`{"kind":"ConfigMap","metadata":{"name":"c","namespace":"n","uid":"u"},"data":{"a":"2"}}`)
	a := &Apply{Text: "x", Objects: raw(
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"n"},"data":{"a":"1"}}`,
		`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n"}}`)}
	res, err := a.Check(t.Context(), w.Env())
	want := `ConfigMap n/c has data.a "2", want "1"; Namespace n is not there`
	if err != nil || res.State != step.Differs || res.Reason != want {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestNodes(t *testing.T) {
	f, w := newCluster(t)
	f.put(readyNode("n1"))
	f.put(`{"kind":"Node","metadata":{"name":"n2"},"status":{"conditions":[{"type":"Ready","status":"False","message":"no network"}]}}`)
	f.put(`{"kind":"Node","metadata":{"name":"n9"},"status":{"conditions":[{"type":"Ready","status":"True"},{"type":"NetworkUnavailable","status":"True","message":"agent is down"}]}}`)
	tests := []struct {
		step Nodes
		want string
	}{
		{Nodes{Names: []string{"n1", "n2"}}, ""},
		{Nodes{Names: []string{"n1"}, Ready: true}, ""},
		{Nodes{Names: []string{"n1", "n2"}, Ready: true}, "n2 is not ready: no network"},
		{Nodes{Names: []string{"n9"}, Ready: true}, "n9 is not ready: agent is down"},
		{Nodes{Names: []string{"n3"}}, "n3 is not registered"},
	}
	for _, tt := range tests {
		res, err := tt.step.Check(t.Context(), w.Env())
		if err != nil || res.Reason != tt.want || (res.State == step.OK) != (tt.want == "") {
			t.Errorf("%+v: %+v, %v", tt.step, res, err)
		}
	}
	late := Nodes{Names: []string{"n3"}, Timeout: step.Duration(time.Millisecond)}
	if _, err := late.Apply(t.Context(), w.Env()); err == nil || !strings.Contains(err.Error(), "n3 is not registered") {
		t.Errorf("the last reason is not told: %v", err)
	}
}

func TestRollout(t *testing.T) {
	f, w := newCluster(t)
	tests := []struct{ name, object, want string }{
		{
			"ready", `{"kind":"Deployment","metadata":{"name":"d","namespace":"n","generation":2},"spec":{"replicas":2},
			"status":{"observedGeneration":2,"updatedReplicas":2,"availableReplicas":2}}`, "",
		},
		{
			"old pods only", `{"kind":"Deployment","metadata":{"name":"d","namespace":"n","generation":2},"spec":{"replicas":2},
			"status":{"observedGeneration":2,"updatedReplicas":0,"availableReplicas":2}}`, "2 of 2 pods ready",
		},
		{
			"not seen", `{"kind":"Deployment","metadata":{"name":"d","namespace":"n","generation":3},
			"status":{"observedGeneration":2}}`, "not seen",
		},
		{
			"half", `{"kind":"Deployment","metadata":{"name":"d","namespace":"n"},"spec":{"replicas":2},
			"status":{"updatedReplicas":2,"availableReplicas":1}}`, "1 of 2 pods ready",
		},
	}
	for _, tt := range tests {
		f.put(tt.object)
		r := Rollout{Workloads: []ObjectKey{{"Deployment", "n", "d"}}}
		res, err := r.Check(t.Context(), w.Env())
		if err != nil || !strings.Contains(res.Reason, tt.want) || (res.State == step.OK) != (tt.want == "") {
			t.Errorf("%s: %+v, %v", tt.name, res, err)
		}
	}
	f.put(`{"kind":"DaemonSet","metadata":{"name":"s","namespace":"n"},"status":{"desiredNumberScheduled":0}}`)
	r := Rollout{Workloads: []ObjectKey{{"DaemonSet", "n", "s"}}}
	if res, _ := r.Check(t.Context(), w.Env()); res.State == step.OK {
		t.Error("a DaemonSet without a node counts as ready")
	}
}

// A node that is away keeps its pod of a DaemonSet from being ready, not the rollout.
func TestRolloutOfSomeNodes(t *testing.T) {
	f, w := newCluster(t)
	f.put(`{"kind":"DaemonSet","metadata":{"name":"s","namespace":"n"},
		"status":{"desiredNumberScheduled":3,"updatedNumberScheduled":3,"numberAvailable":2}}`)
	for i, ready := range []string{"True", "True", "False"} {
		f.put(fmt.Sprintf(`{"kind":"Pod","metadata":{"name":"s-%[1]d","namespace":"n"},"spec":{"nodeName":"n%[1]d"},
			"status":{"phase":"Running","conditions":[{"type":"Ready","status":%[2]q}]}}`, i, ready))
	}
	for _, tt := range []struct {
		nodes []string
		want  string
	}{{nil, "2 of 3 pods"}, {[]string{"n0", "n1"}, ""}, {[]string{"n0", "n2"}, "2 of 3 pods"}} {
		r := Rollout{Workloads: []ObjectKey{{"DaemonSet", "n", "s"}}, Nodes: tt.nodes}
		res, err := r.Check(t.Context(), w.Env())
		if err != nil || !strings.Contains(res.Reason, tt.want) || (res.State == step.OK) != (tt.want == "") {
			t.Errorf("nodes %v: %+v, %v; want %q", tt.nodes, res, err, tt.want)
		}
	}
}

// The token is made only while somebody has to join, lives as long as it is
// told to, and takes those of interrupted runs along when it goes.
func TestT44TokenSteps(t *testing.T) {
	f, w := newCluster(t)
	w.Secrets["token:bootstrap"] = "abcdef.0123456789abcdef"
	tok := &Token{Ref: "token:bootstrap", Nodes: []string{"n1"}}
	if _, err := tok.Apply(t.Context(), w.Env()); err != nil {
		t.Fatal(err)
	}
	secret := f.objects[key("Secret", "kube-system", "bootstrap-token-abcdef")]
	data := secret["stringData"].(map[string]any)
	end, err := time.Parse(time.RFC3339, data["expiration"].(string))
	if left := time.Until(end); err != nil || left > time.Hour || left < 59*time.Minute {
		t.Errorf("ends in %s, %v", left, err)
	}
	delete(data, "expiration")
	want := map[string]any{
		"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
		"auth-extra-groups": "system:bootstrappers:offk8s",
	}
	if diff := cmp.Diff(want, data); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, call := range w.Calls {
		if strings.Contains(strings.Join(call, " "), "0123456789abcdef") {
			t.Errorf("the secret is in the arguments %v", call)
		}
	}
	f.put(`{"kind":"Secret","type":"bootstrap.kubernetes.io/token","metadata":{"name":"bootstrap-token-999999","namespace":"kube-system"}}`)
	gone := &TokenGone{}
	if res, err := gone.Check(t.Context(), w.Env()); err != nil || res.State != step.Differs {
		t.Errorf("check: %+v, %v", res, err)
	}
	if _, err := gone.Apply(t.Context(), w.Env()); err != nil || len(f.objects) != 0 {
		t.Errorf("%v stays, %v", slices.Collect(maps.Keys(f.objects)), err)
	}
	f.put(readyNode("n1"))
	if res, err := tok.Check(t.Context(), w.Env()); err != nil || res.State != step.OK {
		t.Errorf("with all nodes joined: %+v, %v", res, err)
	}
	fresh := &Token{Ref: tok.Ref, Nodes: tok.Nodes, New: []string{"n1"}}
	if res, err := fresh.Check(t.Context(), w.Env()); err != nil || res.State != step.Differs {
		t.Errorf("with a new machine in place of a node: %+v, %v", res, err)
	}
	// The certificate of a node that stopped reporting may have expired.
	f.put(`{"kind":"Node","metadata":{"name":"n1"},"status":{"conditions":[{"type":"Ready","status":"Unknown"}]}}`)
	if res, err := tok.Check(t.Context(), w.Env()); err != nil || res.State != step.Differs {
		t.Errorf("with a silent node: %+v, %v", res, err)
	}
}

func TestValidate(t *testing.T) {
	bad := []step.Step{
		&Apply{}, &Apply{Objects: raw(`{"kind":"X"}`)},
		&Rollout{Workloads: []ObjectKey{{"Job", "n", "x"}}}, &Rollout{},
		&Nodes{Names: []string{"--all"}}, &Node{Name: "n", Taints: []string{"key"}},
		&Node{Name: "n", Labels: map[string]string{"--all": "x"}}, &Node{Name: "n", Labels: map[string]string{"a": "b-"}},
		&ServingCertificates{CAFile: "ca.crt"}, &ServingCertificates{CAFile: "/ca.crt", Nodes: []NodeAddress{{Name: "n", Address: "host"}}}, &ServingCertificates{CAFile: "/ca.crt", Nodes: []NodeAddress{{Name: "n", Address: "10.0.0.1", Second: "host"}}},
		&Token{}, &Token{Ref: "x", TTL: step.Duration(48 * time.Hour)},
		&Smoke{},
	}
	for _, s := range bad {
		if s.Validate() == nil {
			t.Errorf("%s %+v is accepted", s.Kind(), s)
		}
	}
}
