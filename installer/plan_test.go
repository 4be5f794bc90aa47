package installer_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/mirror"
)

func TestPlan(t *testing.T) {
	l := newLab(t, "cp-1", "w-1")
	onlyFirst := each("two", func(h manifests.Host) []step.Item {
		if h.Name != "cp-1" {
			return nil
		}
		return []step.Item{{ID: "two/swap", Step: &step.Swap{}}}
	})
	p := l.plan(files("one"), onlyFirst, stage.Stage{Name: "gate only"}, each("none", func(manifests.Host) []step.Item { return nil }))
	const want = `cluster lab, Kubernetes 1.36.3, bundle b
hosts: 2, stages: 2, steps: 5
  all hosts (2): worker

one: the one
  all hosts (2)
    file /etc/one/a 0644
      because
    file /etc/one/b 0644

two: the two
  cp-1
    swap off
`
	var text bytes.Buffer
	if err := p.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if p.Steps() != 5 {
		t.Errorf("%d steps, want 5", p.Steps())
	}
	got, err := json.Marshal(p.Stages[1])
	if err != nil {
		t.Fatal(err)
	}
	wantJSON := `{"name":"two","title":"the two","hosts":[{"host":"cp-1","optional":true,"items":[{"id":"two/swap","kind":"swap","spec":{}}]}]}`
	if diff := cmp.Diff(wantJSON, string(got)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

func TestPlanTellsAllErrors(t *testing.T) {
	l := newLab(t, "a", "b")
	bad := stage.Stage{Name: "bad", Steps: func(_ stage.Input, h manifests.Host) ([]step.Item, error) {
		return nil, errors.New("no file for " + h.Name)
	}}
	in := stage.Input{Cluster: l.cluster, Lock: &manifests.Lock{}}
	_, err := installer.NewPlan(in, stage.Operation{Stages: []stage.Stage{bad, files("one"), files("one")}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"no file for a", "no file for b", `host "a": step "one/a" twice`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

// A cause that several stages share is reported once per host, with one name of the stage.
func TestPlanTellsErrorsOnce(t *testing.T) {
	l := newLab(t, "a", "b")
	in := stage.Input{Cluster: l.cluster, Lock: &manifests.Lock{Distros: []string{"rocky-9"}}}
	in.Cluster.Hosts[0].OS = "ubuntu-22.04"
	_, err := installer.NewPlan(in, stage.Install())
	if err == nil || strings.Count(err.Error(), "ubuntu-22.04") != 1 {
		t.Errorf("got %v", err)
	}
	for line := range strings.SplitSeq(fmt.Sprint(err), "\n") {
		if strings.Count(line, "host ") > 1 || strings.Count(line, "stage ") > 1 {
			t.Errorf("doubled: %s", line)
		}
	}
}

func TestT48Clocks(t *testing.T) {
	tests := []struct {
		ahead time.Duration
		want  stage.Verdict
	}{
		{0, stage.Pass},
		{-4 * time.Second, stage.Pass},
		{10 * time.Second, stage.Warn},
		{-10 * time.Second, stage.Warn},
		{10 * time.Minute, stage.Fail},
		{-24 * time.Hour, stage.Fail},
		{2 * 365 * 24 * time.Hour, stage.Fail},
	}
	for _, tt := range tests {
		l := newLab(t, "cp-1")
		l.hosts["cp-1"].ahead = tt.ahead
		f := l.connect()
		in := stage.Input{Cluster: l.cluster, Lock: &manifests.Lock{}}
		_, checks, err := f.Preflight(t.Context(), in)
		var clock stage.Check
		for _, c := range checks {
			if c.Name == "clock" {
				clock = c
			}
		}
		if clock.Verdict != tt.want {
			t.Errorf("%s ahead: %+v, want %s", tt.ahead, clock, tt.want)
		}
		if _, failed := errors.AsType[*installer.PreflightError](err); !failed { // the lock of this test supports nothing
			t.Fatalf("error %v, want *PreflightError", err)
		}
		gate := installer.CheckClocks(f, in)(t.Context())
		if (gate != nil) != (tt.want == stage.Fail) {
			t.Errorf("%s ahead: gate after the time stage: %v", tt.ahead, gate)
		}
	}
}

// The balancers ask for their address before anything is changed, and only they.
func TestAsk(t *testing.T) {
	l := newLab(t, "lb-1", "cp-1")
	l.cluster.LoadBalancer = manifests.LoadBalancer{Mode: manifests.BalanceHosts, VIP: "10.0.0.10"}
	l.cluster.Hosts[0].Roles = []manifests.Role{manifests.RoleLoadBalancer}
	l.hosts["lb-1"].addresses = []facts.Address{{Interface: "eth0", Prefix: netip.MustParsePrefix("10.0.0.1/24")}}
	l.hosts["lb-1"].stations = []probe.Station{{Address: netip.MustParseAddr("10.0.0.10"), MAC: "52:54:00:00:00:99"}}
	in, _, err := l.connect().Preflight(t.Context(), stage.Input{Cluster: l.cluster, Lock: &manifests.Lock{}})
	if _, ok := errors.AsType[*installer.PreflightError](err); !ok || !strings.Contains(err.Error(), "lb-1: vip-free: found 10.0.0.10 in use by 52:54:00:00:00:99") {
		t.Errorf("error %v, want a failed check of the address", err)
	}
	if len(in.Answers) != 1 || len(in.Answers["lb-1"]) != 2 {
		t.Errorf("answers %+v, want two of lb-1", in.Answers)
	}
}

func TestOpenMirror(t *testing.T) {
	b := bundletest.Open(t)
	m, err := mirror.New([]*bundle.Bundle{b}, mirror.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var ca []byte
	var heads atomic.Int32
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			heads.Add(1)
		}
		if r.URL.Path == "/ca.crt" {
			_, _ = w.Write(ca)
			return
		}
		m.ServeHTTP(w, r)
	}))
	defer srv.Close()
	ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	sum := sha256.Sum256(srv.Certificate().Raw)
	keys := string(bundletest.Key(t).PublicPEM())
	at := manifests.ClusterMirror{URL: srv.URL, CAFingerprint: "sha256:" + hex.EncodeToString(sum[:])}
	got, err := installer.OpenMirror(t.Context(), at, agent.Bundle{PublicKeys: keys})
	if err != nil {
		t.Fatal(err)
	}
	if got.Root != b.Root() || got.Lock.Name != b.Lock().Name || len(got.OpenPGPKey) == 0 || got.Agent.CAPEM != string(ca) {
		t.Errorf("got %+v", got)
	}
	for range 2 { // install asks before and after it knows the hosts
		if err := got.Has(t.Context(), "/files/"+bundletest.KubeletPath); err != nil {
			t.Error(err)
		}
		if err := got.Has(t.Context(), "/files/amd64/nothing"); err == nil {
			t.Error("has what is not there")
		}
	}
	if n := heads.Load(); n != 3 {
		t.Errorf("%d questions, want one for the file that is there and two for the other", n)
	}
	at.CAFingerprint = "sha256:" + strings.Repeat("0", 64)
	if _, err := installer.OpenMirror(t.Context(), at, agent.Bundle{PublicKeys: keys}); !errors.Is(err, agent.ErrVerify) {
		t.Errorf("wrong fingerprint: error %v, want ErrVerify", err)
	}
}
