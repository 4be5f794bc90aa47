package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
)

// isolationAPI answers the lists that isolation reads, and records the calls of kubectl.
type isolationAPI struct {
	policies []any
	calls    []string
	applied  []map[string]any
}

func (f *isolationAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	items := map[string][]any{
		"/api/v1/namespaces": {
			object{"metadata": object{"name": "default"}, "status": object{"phase": "Active"}},
			object{"metadata": object{"name": "kube-system"}, "status": object{"phase": "Active"}},
			object{"metadata": object{"name": "team"}, "status": object{"phase": "Active"}},
			object{"metadata": object{"name": "going"}, "status": object{"phase": "Terminating"}},
		},
		"/api/v1/nodes": {
			object{"spec": object{"podCIDR": "10.244.2.0/24"}}, object{"spec": object{"podCIDR": "10.244.0.0/24"}}, object{"spec": object{}},
		},
		"/apis/networking.k8s.io/v1/networkpolicies": f.policies,
	}[r.URL.Path]
	b, err := json.Marshal(object{"items": items})
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(b))}, err
}

func (f *isolationAPI) Run(_ context.Context, c step.Cmd) (step.Output, error) {
	f.calls = append(f.calls, strings.Join(c.Argv[3:], " "))
	if len(c.Stdin) == 0 {
		return step.Output{}, nil
	}
	var list struct{ Items []map[string]any }
	err := json.Unmarshal(c.Stdin, &list)
	f.applied = list.Items
	for _, p := range list.Items {
		f.policies = append(f.policies, p)
	}
	return step.Output{}, err
}

func TestIsolate(t *testing.T) {
	f := &isolationAPI{}
	c := Client{Run: f, Transport: f, Kubeconfig: "/k"}
	i := Isolation{PodCIDR: "10.244.0.0/16", Exempt: []string{"kube-system"}, FirstAddresses: true}
	changed, err := c.Isolate(t.Context(), i)
	if err != nil || !slices.Equal(changed, []string{"default", "team"}) {
		t.Fatalf("%v, %v: want the policy in default and team", changed, err)
	}
	got, err := json.Marshal(f.applied[1])
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"offk8s-isolation","namespace":"team"},` +
		`"spec":{"ingress":[{"from":[{"podSelector":{}},{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"kube-system"}}},` +
		`{"ipBlock":{"cidr":"0.0.0.0/0","except":["10.244.0.0/16"]}},{"ipBlock":{"cidr":"10.244.0.0/32"}},{"ipBlock":{"cidr":"10.244.2.0/32"}}]}],` +
		`"podSelector":{},"policyTypes":["Ingress"]}}`
	if string(got) != want {
		t.Errorf("policy %s\nwant   %s", got, want)
	}

	// Policies that are as wanted are not applied again, and a changed one is restored.
	if changed, err := c.Isolate(t.Context(), i); err != nil || len(changed) > 0 || len(f.calls) != 1 {
		t.Errorf("again: %v, %v, %q", changed, err, f.calls)
	}
	from := f.policies[1].(map[string]any)["spec"].(map[string]any)["ingress"].([]any)[0].(map[string]any)["from"].([]any)
	from[0].(map[string]any)["namespaceSelector"] = map[string]any{}
	if changed, err := c.Isolate(t.Context(), i); err != nil || !slices.Equal(changed, []string{"team"}) {
		t.Errorf("opened: %v, %v", changed, err)
	}

	// Without isolation, policies of an earlier one go.
	f.calls = nil
	f.policies = f.policies[:2]
	if changed, err := c.Isolate(t.Context(), Isolation{PodCIDR: i.PodCIDR, Off: true}); err != nil || !slices.Equal(changed, []string{"default", "team"}) {
		t.Errorf("off: %v, %v", changed, err)
	}
	if want := []string{"delete networkpolicy offk8s-isolation -n default --ignore-not-found", "delete networkpolicy offk8s-isolation -n team --ignore-not-found"}; !slices.Equal(f.calls, want) {
		t.Errorf("off: %q", f.calls)
	}
}

// The smoke test of isolation uses addresses of the other namespace and a name of its own.
func TestSmokeOfIsolation(t *testing.T) {
	f, w := newCluster(t)
	for _, ns := range []string{smokeA, smokeB} {
		f.put(`{"kind":"NetworkPolicy","metadata":{"name":"` + IsolationPolicy + `","namespace":"` + ns + `"}}`)
	}
	f.put(`{"kind":"Pod","metadata":{"name":"web-1","namespace":"` + smokeB + `","labels":{"app":"web"}},"status":{"podIP":"10.244.1.7"}}`)
	s := testSmoke(t)
	s.Isolated = true
	r := &smokeRun{Smoke: s, env: w.Env()}
	pods, err := r.pods(t.Context(), smokeB, "app=web")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.foreign(t.Context(), pods); err != nil {
		t.Fatal(err)
	}
	job := f.find("job", smokeA, "client-1")
	if len(job) != 1 {
		t.Fatalf("jobs %v", job)
	}
	b, err := json.Marshal(job[0])
	if err != nil {
		t.Fatal(err)
	}
	const want = `"args":["refuse","--own","http://web.offk8s-smoke-a.svc.cluster.local/","--expect","namespace=offk8s-smoke-a","--timeout","90s","http://10.244.1.7:8080/"]`
	if !strings.Contains(string(b), want) {
		t.Errorf("%s\nwant %s", b, want)
	}
}
