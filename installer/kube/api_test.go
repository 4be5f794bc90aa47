package kube

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/kube/kubetest"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// A check only reads, and starts no program: kubectl takes 0.2 s each time, and every
// run checks every step.
func TestChecksStartNoProgram(t *testing.T) {
	f, w := newCluster(t)
	w.Secrets["token:bootstrap"] = "abcdef.0123456789abcdef"
	ds := `{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"d","namespace":"n"}}`
	apply := &Apply{Text: "x", Objects: raw(ds, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}`)}
	f.put(readyNode("n1"))
	steps := []step.Step{
		apply, &Node{Name: "n1", Labels: map[string]string{"a": "b"}}, &Nodes{Names: []string{"n1"}, Ready: true},
		&Rollout{Workloads: []ObjectKey{{"DaemonSet", "n", "d"}}}, &Token{Ref: "token:bootstrap", Nodes: []string{"n2"}}, &TokenGone{},
		&Drain{Name: "n1"}, &NodeGone{Name: "n1"}, &Healthy{}, &Smoke{Fingerprint: "x"}, &Rewrite{Key: "x"}, &KnownKey{Path: "/k", Ref: "x"},
	}
	for range 2 { // before the changes, and after
		w.Calls = nil
		for _, s := range steps {
			if _, err := s.Check(t.Context(), w.Env()); err != nil {
				t.Errorf("%s: %v", s.Kind(), err)
			}
		}
		if _, err := (&Healthy{}).Apply(t.Context(), w.Env()); err != nil {
			t.Errorf("gate: %v", err)
		}
		if len(w.Calls) > 0 {
			t.Errorf("programs: %q", w.Calls)
		}
		for _, s := range []step.Step{steps[0], steps[1]} {
			if _, err := s.Apply(t.Context(), w.Env()); err != nil {
				t.Fatal(err)
			}
		}
	}
	// An object without a namespace is in "default".
	if !slices.Contains(f.calls, "get /api/v1/namespaces/default/configmaps/c") {
		t.Errorf("calls %q", f.calls)
	}
	if kinds := Kinds(); len(kinds) != len(steps)+1 { // kube-csr asks kubelets
		t.Errorf("%d kinds, %d are here", len(kinds), len(steps))
	}
}

func TestHealthy(t *testing.T) {
	f, w := newCluster(t)
	h := &Healthy{Timeout: step.Duration(time.Millisecond)}
	if res, err := h.Apply(t.Context(), w.Env()); err != nil || res.State != step.Verified {
		t.Errorf("%+v, %v", res, err)
	}
	f.api.Health = "not ready"
	if res, err := h.Check(t.Context(), w.Env()); err != nil || res.State != step.Differs || !strings.Contains(res.Reason, "not ready") {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := h.Apply(t.Context(), w.Env()); err == nil || !strings.Contains(err.Error(), "the API server is healthy: not within 1ms (last: it answers: not ready)") {
		t.Error(err)
	}
	bare := steptest.New(t)
	if _, err := h.Apply(t.Context(), bare.Env()); err == nil || !strings.Contains(err.Error(), AdminConf) {
		t.Errorf("without %s: %v", AdminConf, err)
	}
}

// Another control plane than the first may answer.
func TestHealthyServers(t *testing.T) {
	f, w := newCluster(t)
	server := strings.Trim(line(t, f.api.Kubeconfig, "server:"), `"`)
	h := &Healthy{Servers: []string{"https://127.0.0.1:1", server}, Timeout: step.Duration(time.Millisecond)}
	if res, err := h.Apply(t.Context(), w.Env()); err != nil || res.State != step.Verified {
		t.Errorf("%+v, %v", res, err)
	}
	f.api.Health = "not ready"
	_, err := h.Apply(t.Context(), w.Env())
	for _, want := range []string{"https://127.0.0.1:1: ", server + ": it answers: not ready"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}

// A kubelet that joins has a token instead of a certificate.
func TestHealthyWithToken(t *testing.T) {
	var got string
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got = r.Header.Get("Authorization"); got != "Bearer abcdef.0123456789abcdef" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = w.Write([]byte("ok"))
	}))
	defer srv.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	w := steptest.New(t)
	w.Write(t, "join.conf", fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: a, user: {token: abcdef.0123456789abcdef}}]
`, srv.URL, base64.StdEncoding.EncodeToString(ca)), 0o600)
	h := &Healthy{Kubeconfig: "/join.conf", Timeout: step.Duration(time.Millisecond)}
	if res, err := h.Apply(t.Context(), w.Env()); err != nil || res.State != step.Verified {
		t.Errorf("%+v, %v, with %q", res, err, got)
	}
	w.Write(t, "join.conf", strings.Replace(w.Read(t, "join.conf"), "abcdef.0", "abcdef.1", 1), 0o600)
	if _, err := h.Apply(t.Context(), w.Env()); err == nil {
		t.Error("an API that does not know the token is ready")
	}
}

// Only the authority in the kubeconfig counts, and only a user that it knows is answered.
func TestAnotherServer(t *testing.T) {
	f, w := newCluster(t)
	other := kubetest.Serve(t, func(string, string, string) []any { return nil })
	caLine := func(s string) string { return line(t, s, "certificate-authority-data:") }
	certLine := func(s string) string { return line(t, s, "client-certificate-data:") }
	keyLine := func(s string) string { return line(t, s, "client-key-data:") }
	ca, _ := authority(t)
	good := f.api.Kubeconfig
	for name, text := range map[string]string{
		"another authority": strings.Replace(good, caLine(good), base64.StdEncoding.EncodeToString(ca), 1),
		"another user": strings.NewReplacer(certLine(good), certLine(other.Kubeconfig), keyLine(good), keyLine(other.Kubeconfig)).
			Replace(good),
	} {
		w.Write(t, AdminConf, text, 0o600)
		f.calls = nil
		if _, err := nodes(t.Context(), w.Env()); err == nil || len(f.calls) > 0 {
			t.Errorf("%s: error %v, requests %q", name, err, f.calls)
		}
	}
}

// line returns the value of a field of a kubeconfig.
func line(t *testing.T, text, field string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, field)
	value, _, _ := strings.Cut(rest, "\n")
	if !ok {
		t.Fatalf("no %s", field)
	}
	return strings.TrimSpace(value)
}

// An error about a kubeconfig quotes nothing of it.
func TestBadKubeconfig(t *testing.T) {
	good := kubetest.Serve(t, nil).Kubeconfig
	server, ca, key := line(t, good, "server:"), line(t, good, "certificate-authority-data:"), line(t, good, "client-key-data:")
	for name, text := range map[string]string{
		"empty":           "",
		"no YAML":         "\x00" + key,
		"another kind":    strings.Replace(good, "kind: Config", "kind: Secret", 1),
		"two users":       strings.Replace(good, "users:\n", "users:\n- name: b\n  user: {}\n", 1),
		"plain http":      strings.Replace(good, server, `"http://127.0.0.1:1"`, 1),
		"no authority":    strings.Replace(good, ca, "AAAA", 1),
		"no key":          strings.Replace(good, key, key[:40], 1),
		"key as a server": strings.Replace(good, server, key, 1),
		"key as a list":   strings.Replace(good, ca, "["+key+"]", 1),
	} {
		_, _, _, err := ParseKubeconfig([]byte(text))
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), key[:30]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, _, err := ParseKubeconfig([]byte(good + "preferences: {}\n")); err != nil {
		t.Error(err)
	}
}

// The API may refuse, or have no such kind; the check says what it answered.
func TestRefusedReads(t *testing.T) {
	f, w := newCluster(t)
	a := &Apply{Text: "x", Objects: raw(`{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"t"}}`)}
	res, err := a.Check(t.Context(), w.Env())
	if want := "cannot look yet: the API has no Thing in example.com/v1"; err != nil || res.State != step.Differs || res.Reason != want {
		t.Errorf("%+v, %v; want %q", res, err, want)
	}
	f.api.Gone = []string{"/apis/example.com"}
	res, err = a.Check(t.Context(), w.Env())
	if err != nil || res.State != step.Differs || !strings.Contains(res.Reason, "GET /apis/example.com/v1: ") {
		t.Errorf("%+v, %v", res, err)
	}
	c := Client{Transport: answers(func(r *http.Request) (int, string) { return 403, `{"message":"nodes is forbidden"}` })}
	if err := c.get(t.Context(), nil, "/api/v1/nodes"); err == nil || err.Error() != "GET /api/v1/nodes: nodes is forbidden" || notFound(err) {
		t.Error(err)
	}
	c.Transport = answers(func(*http.Request) (int, string) { return 502, "<html>" })
	if err := c.get(t.Context(), nil, "/api/v1/nodes"); err == nil || err.Error() != "GET /api/v1/nodes: Bad Gateway" {
		t.Error(err)
	}
}

// answers is a transport.
type answers func(*http.Request) (int, string)

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	code, body := a(r)
	return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// Before Kubernetes 1.19, requests for certificates have only their beta version.
func TestOldRequests(t *testing.T) {
	f, w := newCluster(t)
	f.put(goodRequest().object(t))
	f.api.Gone = []string{"/apis/certificates.k8s.io/v1/"}
	got, err := admin(w.Env()).ServingRequests(t.Context(), []NodeAddress{{Name: "n1", Address: "127.0.0.1"}})
	if err != nil || len(got) != 1 || got[0].Refused != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPaths(t *testing.T) {
	for want, got := range map[string]string{
		"/api/v1/nodes":    apiPath("v1", "", "nodes", ""),
		"/api/v1/nodes/n1": apiPath("v1", "", "nodes", "n1"),
		"/apis/apps/v1/namespaces/n/daemonsets/d":         workloadPath(ObjectKey{"DaemonSet", "n", "d"}),
		"/api/v1/namespaces/..%2Fx/pods/a%3Fb":            apiPath("v1", "../x", "pods", "a?b"),
		"/api/v1/namespaces/n/pods?labelSelector=a%3Db":   podsPath("n", "a=b"),
		"/api/v1/namespaces/n/pods":                       podsPath("n", ""),
		"/apis/rbac.authorization.k8s.io/v1/clusterroles": apiPath("rbac.authorization.k8s.io/v1", "", "clusterroles", ""),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
