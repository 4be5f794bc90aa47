package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/secrettest"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/mirror"
)

func siteReport() *installer.Report {
	return &installer.Report{
		Cluster: "site", Mode: agent.ModeApply, Took: 252 * time.Second,
		Stages: []installer.StageReport{
			{Name: "host", Took: 12 * time.Second}, {Name: "time", Took: 90 * time.Millisecond}, {Name: "images", Took: 125 * time.Second},
		},
		Hosts: []installer.HostReport{{Host: "cp-1", OK: 41, Changed: 88}, {Host: "node-1", OK: 12, Changed: 3}},
	}
}

// The last words of a successful install.
func TestClosing(t *testing.T) {
	run := &clusterRun{logFile: "/state/site/runs/20261126T120000.000Z.jsonl"}
	run.slowest.Event("images", "node-1", agent.Event{Type: agent.EventStep, ID: "images/pause", Took: 2 * time.Second})
	run.slowest.Event("images", "cp-1", agent.Event{Type: agent.EventStep, ID: "images/coredns", Took: 63 * time.Second})
	run.slowest.Event("images", "cp-1", agent.Event{Type: agent.EventStep, ID: "images/flannel", Took: time.Second})
	end := closing{
		access: access{"https://192.0.2.11:6443", "/state/site/admin.kubeconfig"}, Kubernetes: "1.36.3", Nodes: 6, NodesReady: 5,
		FirstCertificate: "apiserver-cp-1", FirstCertificateEnd: time.Date(2027, 11, 25, 1, 2, 3, 0, time.UTC), BackUp: "/state/site",
	}
	const want = `changed: 91, would change: 0, hosts failed: 0
cluster "site" runs Kubernetes 1.36.3, 5 of 6 nodes are ready
endpoint: https://192.0.2.11:6443
kubeconfig: /state/site/admin.kubeconfig
  offk8s kubeconfig prints it; kubectl --kubeconfig /state/site/admin.kubeconfig get nodes uses it
certificates: the first one ends on 2027-11-25 (apiserver-cp-1); install renews each in its last 30 days
back up the directory /state/site: without it nobody can change this cluster
took 4 min 12 s: host 12 s, images 2 min 5 s
slowest step: images/coredns on cp-1, 63 s
log of this run: /state/site/runs/20261126T120000.000Z.jsonl
`
	var stdout bytes.Buffer
	a := newApp(nil, &stdout, io.Discard)
	a.format = "text"
	if err := a.runResult(siteReport(), run, end); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, stdout.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	stdout.Reset()
	a.verbose = 1
	if err := a.runResult(siteReport(), run, end); err != nil || !strings.HasPrefix(stdout.String(), "cp-1: ok 41, changed 88, ") {
		t.Errorf("with -v: %v\n%s", err, stdout.String())
	}
	stdout.Reset()
	a.format = "json"
	if err := a.runResult(siteReport(), run, end); err != nil {
		t.Fatal(err)
	}
	compareOutput(t, "offk8s install", stdout.Bytes())
	var got map[string]any
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]any{
		"changed": 91.0, "endpoint": "https://192.0.2.11:6443", "kubeconfig": "/state/site/admin.kubeconfig", "nodes": 6.0, "nodesReady": 5.0,
		"firstCertificate": "apiserver-cp-1", "firstCertificateEnd": "2027-11-25T01:02:03Z", "backUp": "/state/site", "log": run.logFile,
		"slowest": map[string]any{"host": "cp-1", "id": "images/coredns", "seconds": 63.0},
	} {
		if diff := cmp.Diff(want, got[field]); diff != "" {
			t.Errorf("JSON: %s (-want +got):\n%s", field, diff)
		}
	}
}

// A reset of hosts without anything of offk8s says so.
func TestClosingOfAnEmptyReset(t *testing.T) {
	const want = "there was nothing of offk8s to undo"
	for changed, said := range map[int]bool{0: true, 3: false} {
		var stdout bytes.Buffer
		a := newApp(nil, &stdout, io.Discard)
		a.format = "text"
		r := &installer.Report{Mode: agent.ModeUndo, Hosts: []installer.HostReport{{Host: "cp-1", Changed: changed}}}
		if err := a.runResult(r, &clusterRun{}, closing{}); err != nil || strings.Contains(stdout.String(), want) != said {
			t.Errorf("%d changed: %v\n%s", changed, err, stdout.String())
		}
	}
}

// A run that did not reach the end has no words about the cluster.
func TestClosingOfAFailedRun(t *testing.T) {
	var stdout bytes.Buffer
	a := newApp(nil, &stdout, io.Discard)
	a.format = "text"
	r := siteReport()
	r.Hosts[0].Failed = 1
	if err := a.runResult(r, &clusterRun{}, closing{}); err != nil {
		t.Fatal(err)
	}
	for _, not := range []string{"endpoint", "kubeconfig", "back up", "log of", "slowest"} {
		if strings.Contains(stdout.String(), not) {
			t.Errorf("%q in\n%s", not, stdout.String())
		}
	}
}

// The mirror's page shows the log of a run as this program writes it.
func TestRunOnTheMirrorsPage(t *testing.T) {
	dir := t.TempDir()
	builder := bundletest.New(t)
	builder.AddSmall(t)
	opened, err := bundle.Open(t.Context(), []string{builder.Seal(t)}, bundletest.Options(builder.Key))
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	m, err := newMirror([]*bundle.Bundle{opened}, mirror.Options{Runs: []string{filepath.Join(dir, "runs")}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	a := newApp(nil, io.Discard, io.Discard)
	a.progress = "none"
	run := a.startRun("install", "site")
	a.keepLog(run, dir)
	run.StageStart("etcd", "etcd members", 2)
	run.Event("etcd", "cp-1", agent.Event{Type: agent.EventStart, ID: "etcd"})
	run.Event("etcd", "cp-1", agent.Event{Type: agent.EventStep, ID: "etcd", State: step.Changed})
	run.Event("etcd", "cp-1", agent.Event{Type: agent.EventEnd})
	run.Event("etcd", "cp-2", agent.Event{Type: agent.EventStep, ID: "etcd", State: step.Failed, Reason: "hidden"})
	run.StageEnd(installer.StageReport{Name: "etcd", Failed: []string{"cp-2"}})
	page := func() string {
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequest("GET", "/now", nil))
		return w.Body.String()
	}
	got := page()
	for _, want := range []string{"install site", ": running", "etcd           ✗ 1  etcd members", "cp-1: etcd ✓", "cp-2: etcd ✗"} {
		if !strings.Contains(got, want) || strings.Contains(got, "hidden") {
			t.Errorf("no %q on the page:\n%s", want, got)
		}
	}
	a.finishRun(run, "", installer.ErrPartial)
	if got := page(); !strings.Contains(got, "failed with exit status 3") {
		t.Errorf("at the end:\n%s", got)
	}
}

func TestRunLogsAreKept(t *testing.T) {
	dir := t.TempDir()
	clk := newClock()
	a := newApp(nil, io.Discard, io.Discard)
	var names []string
	for range keptRuns + 3 {
		clk.pass(1)
		run := &clusterRun{log: newRunLog(clk.now), end: func() {}}
		run.log.StageStart("etcd", "etcd members", 3)
		a.keepLog(run, dir)
		names = append(names, run.logFile)
		a.finishRun(run, "", errors.New("boom"))
	}
	got, err := filepath.Glob(filepath.Join(dir, "runs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(names[3:], got); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	for path, want := range map[string]os.FileMode{got[0]: 0o600, filepath.Join(dir, "runs"): 0o700} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", path, st.Mode(), err, want)
		}
	}
	b, err := os.ReadFile(got[0])
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"event":"stage","hosts":3,"stage":"etcd","time":"2026-11-26T12:00:04Z","title":"etcd members"}
{"code":1,"error":"boom","event":"end","hint":"","time":"2026-11-26T12:00:04Z"}
`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// quoting is a Runner whose programs fail and quote their input.
type quoting struct{}

func (quoting) Run(_ context.Context, c step.Cmd) (step.Output, error) {
	out := step.Output{Stderr: append([]byte("bad input: "), c.Stdin...)}
	return out, step.NewExitError(c.Argv, 1, out)
}

// No secret of a host comes into the log of a run, the lines or the live view, even if
// a program quotes it.
func TestRunLogHasNoSecrets(t *testing.T) {
	secrets := map[string][]byte{"secret:x": []byte("0123456789-very-secret-value")}
	item, err := json.Marshal(step.Item{ID: "pki/key", Step: &step.Command{Argv: []string{"load"}, Once: true, StdinSecret: "secret:x"}})
	if err != nil {
		t.Fatal(err)
	}
	request, err := json.Marshal(agent.Request{
		Protocol: agent.Protocol, Mode: agent.ModeApply, Cluster: "site", Host: "cp-1", Items: []json.RawMessage{item}, Secrets: secrets,
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log := newRunLog(time.Now)
	var lines strings.Builder
	plain := &runLines{write: func(s string) { lines.WriteString(s + "\n") }, verbose: 2, act: activity{now: time.Now}}
	all := progresses{log, plain}
	all.StageStart("pki", "certificates and keys", 1)
	end := serveOnce(t, request, func(e agent.Event) { all.Event("pki", "cp-1", e) })
	run := &clusterRun{log: log, end: func() {}}
	newApp(nil, io.Discard, io.Discard).finishRun(run, dir, end.Err())
	b, err := os.ReadFile(run.logFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"log": string(b), "lines": lines.String()} {
		if !strings.Contains(text, "bad input: ***") {
			t.Errorf("%s lacks the failure:\n%s", name, text)
		}
	}
	secrettest.None(t, secrets, map[string]string{"log": string(b), "lines": lines.String()})
}

// serveOnce sends an agent in an empty directory one request and returns its last event.
func serveOnce(t *testing.T, request []byte, on func(agent.Event)) (end agent.Event) {
	t.Helper()
	in, send := io.Pipe()
	receive, out := io.Pipe()
	defer send.Close()
	go func() {
		_ = agent.Serve(t.Context(), in, out, agent.Options{Root: t.TempDir(), Run: quoting{}}) // its last event has the error
		_ = out.Close()
	}()
	go func() { _, _ = send.Write(append(request, '\n')) }() // the agent writes first
	for s := bufio.NewScanner(receive); s.Scan(); {
		var e agent.Event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if e.Type == agent.EventEnd {
			return e
		}
		on(e)
	}
	t.Fatal("no end")
	return end
}

func TestExplain(t *testing.T) {
	c := &manifests.Cluster{Name: "site", Hosts: []manifests.Host{
		{Name: "cp-1", Roles: []manifests.Role{manifests.RoleControlPlane, manifests.RoleEtcd}},
		{Name: "node-3", Roles: []manifests.Role{manifests.RoleWorker}},
	}}
	failed := func(stage, kind, id, describe string) installer.StepReport {
		return installer.StepReport{Stage: stage, Kind: kind, ID: id, Describe: describe, State: step.Failed}
	}
	tests := []struct {
		host string
		step installer.StepReport
		want string
	}{
		{"cp-1", failed("quorum", "wait", "quorum/healthy", "wait: etcd member cp-1 is healthy"), "offk8s logs cp-1 etcd shows why; is 2380/tcp open between the etcd hosts?"},
		{"cp-1", failed("etcd", "unit", "etcd/unit", "unit etcd.service written, enabled, running"), "offk8s logs cp-1 etcd shows"},
		{"cp-1", failed("controlplane", "wait", "controlplane/healthy", "wait: the API server is healthy"), "offk8s logs cp-1 kube-apiserver shows"},
		{"cp-1", failed("controlplane", "wait", "controlplane/kube-scheduler-up", "wait: the scheduler listens"), "offk8s logs cp-1 kube-scheduler shows"},
		{"node-3", failed("runtime", "unit", "runtime/unit", "unit containerd.service written, enabled, running"), "offk8s logs node-3 containerd shows"},
		{"node-3", failed("node", "wait", "node/kube-proxy-healthy", "wait: kube-proxy has its rules"), "offk8s logs node-3 kube-proxy shows"},
		{"node-3", failed("images", "image", "images/pause", "image pause"), "can node-3 reach the mirror?"},
		{"node-3", failed("packages", "packages", "packages/install", "packages socat"), "no other package manager runs on node-3"},
		{"cp-1", failed("dns", "kube-rollout", "dns/coredns-pods", "wait: pods"), "kubectl get pods -A"},
		{"cp-1", failed("time", "unit", "time/unit", "unit chronyd.service enabled, running"), "fix the cause and run"},
		{"cp-1", failed("host", "file", "host/hosts", "3 lines in /etc/hosts"), "fix the cause and run"},
	}
	for _, tt := range tests {
		r := &installer.Report{Hosts: []installer.HostReport{{Host: "other"}, {Host: tt.host, Steps: []installer.StepReport{{ID: "x", State: step.Changed}, tt.step}}}}
		code, hint := classify(explain(fmt.Errorf("%w: %w", installer.ErrPartial, agent.ErrStep), r, c))
		if code != exitPartial || !strings.Contains(hint, tt.want) || !strings.Contains(hint, "run the same command again") || strings.Contains(hint, "HOST") {
			t.Errorf("%s on %s: code %d, hint %q, want %q", tt.step.ID, tt.host, code, hint, tt.want)
		}
		// An error that has a class keeps its hint.
		locked := fmt.Errorf("%w: %w", installer.ErrPartial, agent.ErrLocked)
		if err := explain(locked, r, c); err != locked {
			t.Errorf("%s: replaced %v by %v", tt.step.ID, locked, err)
		}
	}
	if err := explain(nil, &installer.Report{}, c); err != nil {
		t.Error(err)
	}
}

// Every remedy is for a stage and a kind that there are.
func TestRemediesMatchSomething(t *testing.T) {
	kinds := step.All().With(kube.Kinds())
	for _, r := range remedies {
		known := slices.ContainsFunc(stage.Install().Stages, func(s stage.Stage) bool { return s.Name == r.stage })
		if r.stage != "" && !known {
			t.Errorf("%+v: no such stage", r)
		}
		if _, ok := kinds[r.kind]; r.kind != "" && !ok {
			t.Errorf("%+v: no such kind", r)
		}
	}
}

// Each question about logins is asked once, after all of them: unknown keys as a table in
// the order of cluster.yaml, passphrases of keys that logins needed, the password of sudo.
func TestLoginQuestions(t *testing.T) {
	c := &manifests.Cluster{Hosts: []manifests.Host{{Name: "cp-1", Address: "10.0.0.1"}, {Name: "cp-2", Address: "10.0.0.2"}, {Name: "cp-3", Address: "10.0.0.3"}}}
	var stderr bytes.Buffer
	a := newApp(strings.NewReader("n\ny\n"), nil, &stderr)
	var prompts []string
	a.asked = func(prompt string) ([]byte, error) {
		prompts = append(prompts, prompt)
		return []byte("geheim"), nil
	}
	l, err := a.newLogins(clusterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l.terminal = true
	if l.again(c, nil) || stderr.Len() > 0 {
		t.Errorf("asked without a reason: %q", stderr.String())
	}
	keys := []hostKey{{"cp-3", "10.0.0.3:22", "SHA256:c"}, {"cp-1", "10.0.0.1:22", "SHA256:a"}, {"bastion b", "192.0.2.1:22", "SHA256:b"}}
	for _, want := range []bool{false, true} { // the answers
		for _, k := range append(keys, keys[0]) { // a bastion shows its key once for each host
			if l.accept(k.name, k.address, k.fingerprint) {
				t.Errorf("accepts %v without a question", k)
			}
		}
		if l.again(c) != want || l.accept(keys[0].name, keys[0].address, keys[0].fingerprint) != want {
			t.Errorf("answer %t has no effect", want)
		}
		l.unknown = nil
	}
	const table = `no known_hosts file has the keys of:
  bastion b (192.0.2.1:22)  SHA256:b
  cp-1 (10.0.0.1:22)  SHA256:a
  cp-3 (10.0.0.3:22)  SHA256:c
accept these 3 keys? [y/N] `
	if got := stderr.String(); got != table+table {
		t.Errorf("asked\n%s\nwant twice\n%s", got, table)
	}
	if l.accept("cp-3", "10.0.0.3:22", "SHA256:other") {
		t.Error("accepts another key at the same address")
	}
	sudo := func(name string) error {
		return &installer.HostError{Host: name, Err: fmt.Errorf("first command: %w", &host.SudoError{Host: name, Err: host.ErrSudoPassword})}
	}
	locked := &host.LockedKeyError{Files: []string{"/k/id"}, Err: errors.New("no key")}
	if !l.again(c, errors.Join(sudo("cp-2"), sudo("cp-1"), locked), locked) || l.again(c, sudo("cp-1"), locked) {
		t.Error("asked not once")
	}
	if want := []string{"passphrase of the key /k/id: ", "password of sudo on cp-1, cp-2: "}; !slices.Equal(prompts, want) {
		t.Errorf("prompts %q, want %q", prompts, want)
	}
	if l.ssh.Sudo == nil || string(l.ssh.Passphrases["/k/id"]) != "geheim" {
		t.Errorf("answers are not used: %+v", l.ssh.Passphrases)
	}
}

func TestLosses(t *testing.T) {
	c := &manifests.Cluster{Name: "site"}
	for _, n := range []string{"cp-1", "cp-2", "cp-3"} {
		c.Hosts = append(c.Hosts, manifests.Host{Name: n, Roles: []manifests.Role{manifests.RoleControlPlane, manifests.RoleEtcd}})
	}
	c.Hosts = append(c.Hosts, manifests.Host{Name: "node-1", Roles: []manifests.Role{manifests.RoleWorker}})
	tests := []struct {
		hosts []string
		want  []string
	}{
		{nil, nil},
		{[]string{"node-1"}, nil},
		{[]string{"cp-1"}, []string{"etcd keeps 2 of 3 members, it needs 2", "the API keeps 2 of 3 servers"}},
		{[]string{"cp-1", "cp-2"}, []string{"etcd keeps 1 of 3 members and loses its quorum: the whole cluster stops", "the API keeps 1 of 3 servers"}},
		{[]string{"cp-1", "cp-2", "cp-3"}, []string{"etcd keeps 0 of 3 members and loses its quorum: the whole cluster stops", "no control plane is left: nothing can change the cluster"}},
		{[]string{"cp-1", "cp-2", "cp-3", "node-1"}, nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, losses(c, tt.hosts)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.hosts, diff)
		}
	}
}

func TestJournalctl(t *testing.T) {
	c, h := &manifests.Cluster{}, manifests.Host{Name: "n", Roles: []manifests.Role{manifests.RoleWorker}}
	tests := []struct {
		o    logsOptions
		unit []string
		want string
	}{
		{logsOptions{lines: 200}, nil, "journalctl --no-pager --lines 200 --unit containerd.service --unit kubelet.service --unit kube-proxy.service"},
		{
			logsOptions{lines: 5, since: "1 hour ago; reboot", follow: true},
			[]string{"kubelet.service"},
			"journalctl --no-pager --lines 5 --since|1 hour ago; reboot| --follow --unit kubelet.service",
		},
	}
	for _, tt := range tests {
		argv, err := tt.o.journalctl(c, h, tt.unit)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Fields(tt.want)
		if before, after, ok := strings.Cut(tt.want, "|"); ok { // an argument with spaces
			arg, rest, _ := strings.Cut(after, "|")
			want = slices.Concat(strings.Fields(before), []string{arg}, strings.Fields(rest))
		}
		if diff := cmp.Diff(want, argv); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.unit, diff)
		}
	}
	if _, err := (logsOptions{lines: 200}).journalctl(c, h, []string{"etcd"}); err == nil || !strings.Contains(err.Error(), "containerd, kubelet, kube-proxy") {
		t.Errorf("unit of another role: %v", err)
	}
}

// The last year of an authority is not a surprise.
func TestAuthoritiesThatEnd(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	c := site("192.0.2.1")
	state := installed(t, c)
	for _, tt := range []struct {
		years int
		want  int // warnings
	}{{0, 0}, {8, 0}, {9, 3}} {
		var stderr bytes.Buffer
		i := installation{app: newApp(nil, nil, &stderr), cluster: c, state: state}
		i.warnAuthorities(time.Now().AddDate(tt.years, 1, 0))
		if got := strings.Count(stderr.String(), `of the cluster "site" ends on`); got != tt.want {
			t.Errorf("after %d years: %d warnings, want %d\n%s", tt.years, got, tt.want, stderr.String())
		}
	}
}
