package installer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/installer/secrettest"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
	"github.com/offk8s/offk8s/manifests"
)

func TestRunTwiceDryRunAndReset(t *testing.T) {
	l := newLab(t, "cp-1", "w-1", "w-2")
	f := l.connect()
	plan := l.plan(files("one"), files("two"))
	before := map[string]map[string]string{}
	for n, h := range l.hosts {
		before[n] = h.world.Tree(t)
		if _, ok := h.File(installer.AgentPath); !ok {
			t.Errorf("%s: the agent was not put there", n)
		}
	}
	dry, err := installer.Run(t.Context(), plan, f, installer.RunOptions{DryRun: true})
	if err != nil || dry.Pending() != 12 || dry.Changed() != 0 {
		t.Fatalf("dry run: %d pending, %d changed, error %v; want 12, 0", dry.Pending(), dry.Changed(), err)
	}
	var log progress
	first, err := installer.Run(t.Context(), plan, f, installer.RunOptions{Progress: &log})
	if err != nil || first.Changed() != 12 {
		t.Fatalf("first run: %d changed, error %v; want 12", first.Changed(), err)
	}
	second, err := installer.Run(t.Context(), plan, f, installer.RunOptions{})
	if err != nil || second.Changed() != 0 {
		t.Errorf("second run: %d changed, error %v; want 0", second.Changed(), err)
	}
	for _, h := range second.Hosts {
		if h.OK != 4 || len(h.Steps) != 0 {
			t.Errorf("second run: %+v", h)
		}
	}
	log.inOrder(t)
	reset, err := installer.Reset(t.Context(), f, installer.ResetOptions{})
	if err != nil || reset.Changed() != 12 {
		t.Fatalf("reset: %d changed, error %v; want 12", reset.Changed(), err)
	}
	for n, h := range l.hosts {
		after := h.world.Tree(t)
		delete(after, "var")
		delete(after, "var/lib")
		if diff := cmp.Diff(before[n], after); diff != "" {
			t.Errorf("%s after reset (-before +after):\n%s", n, diff)
		}
		if calls := strings.Join(h.Calls(), "\n"); !strings.Contains(calls, "sh -c rm -f -- \"$1\" \"$1\".sum \"$1\".offk8s-* sh "+installer.AgentPath) {
			t.Errorf("%s: the agent was not removed", n)
		}
	}
}

// progress notes the order of stages and events.
type progress struct {
	mu    sync.Mutex
	lines []string
}

func (p *progress) add(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, s)
}

func (p *progress) StageStart(name, _ string, hosts int) { p.add(fmt.Sprintf("+%s %d", name, hosts)) }
func (p *progress) StageEnd(r installer.StageReport)     { p.add("-" + r.Name) }
func (p *progress) Event(stage, _ string, e agent.Event) {
	if e.Type == agent.EventStep {
		p.add(stage)
	}
}

// inOrder: no event of the second stage before the first one's end.
func (p *progress) inOrder(t *testing.T) {
	t.Helper()
	want := []string{"+one 3", "one", "one", "one", "one", "one", "one", "-one", "+two 3", "two", "two", "two", "two", "two", "two", "-two"}
	if diff := cmp.Diff(want, p.lines); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
}

func TestT66OneOfFiveFails(t *testing.T) {
	l := newLab(t, "a", "b", "c", "d", "e")
	f := l.connect()
	bad := each("two", func(h manifests.Host) []step.Item {
		return []step.Item{
			{ID: "two/x", Step: &step.File{Path: "/two", Content: "x"}},
			{ID: "two/fail", Step: &step.Command{Argv: []string{"work"}, Once: true}},
			{ID: "two/y", Step: &step.File{Path: "/y", Content: "x"}},
		}
	})
	for n, h := range l.hosts {
		h.world.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
			if n == "c" {
				return steptest.Exit(c.Argv, 1, "disk full")
			}
			return steptest.Say("")
		}
	}
	rep, err := installer.Run(t.Context(), l.plan(files("one"), bad, files("three")), f, installer.RunOptions{})
	if !errors.Is(err, installer.ErrPartial) || !errors.Is(err, agent.ErrStep) {
		t.Fatalf("error %v, want ErrPartial and ErrStep", err)
	}
	for _, want := range []string{`c: stage "two"`, `"two/fail"`, "disk full", "unaffected: a, b, d, e"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
	for _, h := range rep.Hosts {
		want := installer.HostReport{Changed: 5, NotRun: 2}
		if h.Host == "c" {
			want = installer.HostReport{Changed: 3, Failed: 1, NotRun: 3}
		}
		got := installer.HostReport{Changed: h.Changed, Failed: h.Failed, NotRun: h.NotRun, OK: h.OK}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(installer.HostReport{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", h.Host, diff)
		}
	}
	if len(rep.Stages) != 2 || !cmp.Equal(rep.Stages[1].Failed, []string{"c"}) {
		t.Errorf("stages: %+v", rep.Stages)
	}
	if _, err := json.Marshal(rep); err != nil {
		t.Error(err)
	}
	var text bytes.Buffer
	if err := errors.Join(rep.WriteText(&text), rep.WriteCounts(&text)); err != nil || strings.Contains(text.String(), "disk full") {
		t.Errorf("the failure, which is in the run's error, is repeated: %v\n%s", err, text.String())
	}
	if !strings.Contains(text.String(), "c: ok 0, changed 3, verified 0, skipped 0, failed 1, not run 3\n") {
		t.Errorf("counts:\n%s", text.String())
	}
	failed := slices.IndexFunc(rep.Hosts[2].Steps, func(s installer.StepReport) bool { return s.State == step.Failed })
	if s := rep.Hosts[2].Steps[failed]; s.Stage != "two" || s.ID != "two/fail" || s.Kind != "command" || !strings.Contains(s.Reason, "disk full") {
		t.Errorf("failed step: %+v", s)
	}
}

// TestT64ConnectionLostAfterEachEvent: whenever the line is cut, running again
// ends like a run that was never cut.
func TestT64ConnectionLostAfterEachEvent(t *testing.T) {
	for cut := 1; cut <= 4; cut++ {
		l := newLab(t, "cp-1")
		h := l.hosts["cp-1"]
		h.cutAfter = cut // before the agent starts, which it does when it is connected
		f := l.connect()
		plan := l.plan(files("one"), files("two"))
		_, err := installer.Run(t.Context(), plan, f, installer.RunOptions{})
		if !errors.Is(err, installer.ErrPartial) || !strings.Contains(err.Error(), "connection lost") {
			t.Fatalf("cut after %d events: error %v", cut, err)
		}
		h.cutAfter = 0
		if _, err := installer.Run(t.Context(), plan, f, installer.RunOptions{}); err != nil {
			t.Fatalf("cut after %d events: second run: %v", cut, err)
		}
		rep, err := installer.Run(t.Context(), plan, f, installer.RunOptions{})
		if err != nil || rep.Changed() != 0 {
			t.Errorf("cut after %d events: third run changed %d, error %v", cut, rep.Changed(), err)
		}
		if _, err := installer.Reset(t.Context(), f, installer.ResetOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, ok := h.world.Tree(t)["etc/one"]; ok {
			t.Errorf("cut after %d events: reset left what was begun before the cut", cut)
		}
	}
}

func TestRequestsNameTheRun(t *testing.T) {
	l := newLab(t, "a", "b")
	l.cluster.Hosts[0].Roles = []manifests.Role{manifests.RoleEtcd}
	l.cluster.Hosts[1].SSH = manifests.SSH{User: "admin", KeyFile: "~/.ssh/private"}
	rep, err := installer.Run(t.Context(), l.plan(files("one"), files("two")), l.connect(), installer.RunOptions{Operator: "ann@desk"})
	if err != nil {
		t.Fatal(err)
	}
	for n, h := range l.hosts {
		for _, req := range h.requests {
			if req.Operator != "ann@desk" || !req.Started.Equal(rep.Started) || !slices.Equal(req.Roles, []string{map[string]string{"a": "etcd", "b": "worker"}[n]}) {
				t.Errorf("%s: %q %s %q", n, req.Operator, req.Started, req.Roles)
			}
			if n == "b" {
				if len(req.Hosts) != 0 {
					t.Errorf("a worker gets the hosts %+v", req.Hosts)
				}
				continue
			}
			if len(req.Hosts) != 2 || req.Hosts[1].Name != "b" || req.Hosts[1].Address != "10.0.0.2" || req.Hosts[1].SSHUser != "admin" {
				t.Errorf("%s: hosts %+v", n, req.Hosts)
			}
			if raw, err := json.Marshal(req); err != nil || strings.Contains(string(raw), "private") {
				t.Errorf("%s: the operator's key file is in the request (error %v)", n, err)
			}
		}
	}
}

func TestT43SecretsGoOnlyWhereTheyAreNamed(t *testing.T) {
	l := newLab(t, "a", "b")
	f := l.connect()
	secrets := map[string][]byte{"pki:a.key": []byte("KEY-OF-A-0123456789"), "pki:b.key": []byte("KEY-OF-B-0123456789")}
	plan := l.plan(each("pki", func(h manifests.Host) []step.Item {
		return []step.Item{{ID: "key", Step: &step.File{Path: "/key", Secret: step.SecretRef("pki:" + h.Name + ".key")}}}
	}))
	resolve := func(ref string) ([]byte, error) {
		if v, ok := secrets[ref]; ok {
			return v, nil
		}
		return nil, errors.New("unknown")
	}
	rep, err := installer.Run(t.Context(), plan, f, installer.RunOptions{Secrets: resolve})
	if err != nil {
		t.Fatal(err)
	}
	outputs := map[string]string{}
	for n, h := range l.hosts {
		req := h.requests[len(h.requests)-1]
		if len(req.Secrets) > 0 {
			t.Errorf("%s: secrets travel in plain", n)
		}
		got, err := agent.OpenSecrets(l.key, req.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string][]byte{"pki:" + n + ".key": secrets["pki:"+n+".key"]}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s got secrets (-want +got):\n%s", n, diff)
		}
		outputs["events of "+n], outputs["argv of "+n] = h.output.String(), strings.Join(h.Calls(), "\n")
	}
	var text bytes.Buffer
	raw, jsonErr := json.Marshal([]any{plan, rep})
	if err := errors.Join(jsonErr, plan.WriteText(&text), rep.WriteText(&text)); err != nil {
		t.Fatal(err)
	}
	outputs["plan and report"], outputs["text"] = string(raw), text.String()
	secrettest.None(t, secrets, outputs)
	if _, err := installer.Run(t.Context(), plan, f, installer.RunOptions{}); err == nil {
		t.Error("no resolver: no error")
	}
}

func TestConnectTellsAllFailures(t *testing.T) {
	l := newLab(t, "a", "b", "c")
	l.hosts["b"].On("sh -c uname -m", func(_ context.Context, _ []string, _ io.Reader, _, errOut io.Writer) error {
		_, _ = io.WriteString(errOut, "sudo: a password is required\n")
		return &host.ExitError{Program: "uname", Code: 1}
	})
	l.hosts["c"].Say("sh -c uname -m", "riscv64\n")
	_, err := installer.Connect(t.Context(), l.cluster, installer.ConnectOptions{
		Dial: func(_ context.Context, h manifests.Host) (host.Host, error) {
			if h.Name == "a" {
				return nil, errors.New("no route")
			}
			return l.hosts[h.Name], nil
		},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"a: no route", "b: first command", "a password is required", `c: machine "riscv64"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
	if !l.hosts["b"].Closed() || !l.hosts["c"].Closed() {
		t.Error("connections are left open")
	}
}

// TestResetWithoutADeadHost: a host whose hardware is gone keeps no other one
// from being reset, and its failure is reported.
func TestResetWithoutADeadHost(t *testing.T) {
	l := newLab(t, "a", "b")
	first := l.connect()
	_, err := installer.Run(t.Context(), l.plan(files("one")), first, installer.RunOptions{})
	if err := errors.Join(err, first.Close()); err != nil {
		t.Fatal(err)
	}
	dead := map[string]bool{"b": true}
	connect := func() (*installer.Fleet, error) {
		return installer.Connect(t.Context(), l.cluster, installer.ConnectOptions{
			Partial: true,
			Binary:  func(string) (string, error) { return elfFile(t, elf.EM_X86_64), nil },
			Dial: func(_ context.Context, h manifests.Host) (host.Host, error) {
				if dead[h.Name] {
					return nil, errors.New("no route")
				}
				return l.hosts[h.Name], nil
			},
		})
	}
	f, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rep, err := installer.Reset(t.Context(), f, installer.ResetOptions{})
	if !errors.Is(err, installer.ErrPartial) || rep.Hosts[1].Stage != "connect" || rep.Hosts[0].Error != "" {
		t.Errorf("error %v, hosts %+v", err, rep.Hosts)
	}
	if !strings.Contains(rep.Hosts[1].Error, "no route") {
		t.Errorf("report %+v", rep.Hosts)
	}
	if _, ok := l.hosts["a"].world.Tree(t)["etc/one"]; ok {
		t.Error("the living host was not reset")
	}
	dead["a"] = true
	if _, err := connect(); err == nil || !strings.Contains(err.Error(), "a: no route") || !strings.Contains(err.Error(), "b: no route") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestRunCancelled(t *testing.T) {
	l := newLab(t, "a", "b")
	f := l.connect()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, h := range l.hosts {
		h.world.Programs = func(ctx context.Context, _ step.Cmd) (step.Output, error) {
			cancel()
			<-ctx.Done()
			return step.Output{}, context.Cause(ctx)
		}
	}
	plan := l.plan(each("one", func(manifests.Host) []step.Item {
		return []step.Item{{ID: "x", Step: &step.Command{Argv: []string{"x"}, Once: true}}}
	}), files("two"))
	if _, err := installer.Run(ctx, plan, f, installer.RunOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	for n, h := range l.hosts {
		if _, ok := h.world.Tree(t)["etc/two"]; ok {
			t.Errorf("%s: the next stage was begun", n)
		}
	}
}

func TestAfterStopsTheRun(t *testing.T) {
	l := newLab(t, "a")
	f := l.connect()
	o := installer.RunOptions{After: map[string]func(context.Context) error{
		"one": func(context.Context) error { return errors.New("clock is wrong") },
	}}
	rep, err := installer.Run(t.Context(), l.plan(files("one"), files("two")), f, o)
	if err == nil || !strings.Contains(err.Error(), `after stage "one": clock is wrong`) {
		t.Errorf("error %v", err)
	}
	if rep.Hosts[0].NotRun != 2 {
		t.Errorf("report: %+v", rep.Hosts[0])
	}
}

func TestProgramOfAnotherMachineIsNotSent(t *testing.T) {
	l := newLab(t, "a")
	l.hosts["a"].Say("sh -c uname -m", "aarch64\n")
	_, err := installer.Connect(t.Context(), l.cluster, installer.ConnectOptions{
		Dial:   func(_ context.Context, h manifests.Host) (host.Host, error) { return l.hosts[h.Name], nil },
		Binary: func(string) (string, error) { return elfFile(t, elf.EM_X86_64), nil },
	})
	if err == nil || !strings.Contains(err.Error(), "found EM_X86_64, want EM_AARCH64") {
		t.Errorf("error %v", err)
	}
	if _, ok := l.hosts["a"].File(installer.AgentPath); ok {
		t.Error("sent")
	}
}

// A host that remembers the digest of the same program costs one command.
func TestProgramIsKnown(t *testing.T) {
	program := elfFile(t, elf.EM_X86_64)
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, "a")
	l.hosts["a"].Say("sh -c uname -m", fmt.Sprintf("x86_64\n0 41ed\n%x known\n", sha256.Sum256(b)))
	_, err = installer.Connect(t.Context(), l.cluster, installer.ConnectOptions{
		Dial:   func(_ context.Context, h manifests.Host) (host.Host, error) { return l.hosts[h.Name], nil },
		Binary: func(string) (string, error) { return program, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	// The agent may have been started already.
	calls := slices.DeleteFunc(l.hosts["a"].Calls(), func(c string) bool { return c == installer.AgentPath+" agent" })
	if _, sent := l.hosts["a"].File(installer.AgentPath); sent || len(calls) != 1 {
		t.Errorf("sent: %t, commands: %q", sent, calls)
	}
}

func TestDirectoryOfTheProgram(t *testing.T) {
	for _, tt := range []struct {
		name, stat string
		want       string // of the error
	}{
		{"of root", "0 41ed\n", ""},
		{"of a user", "1000 41ed\n", "owner 1000"},
		{"a group may write", "0 41fd\n", "mode 40775"},
		{"all may write", "0 43ff\n", "mode 41777"},
		{"a link", "0 a1ff\n", "mode 120777"},
		{"none yet", "none\n", ""},
		{"no answer", "", "stat of"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, "a")
			l.hosts["a"].Say("sh -c uname -m", "x86_64\n"+tt.stat)
			_, err := installer.Connect(t.Context(), l.cluster, installer.ConnectOptions{
				Dial:   func(_ context.Context, h manifests.Host) (host.Host, error) { return l.hosts[h.Name], nil },
				Binary: func(string) (string, error) { return elfFile(t, elf.EM_X86_64), nil },
			})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if _, sent := l.hosts["a"].File(installer.AgentPath); sent != (tt.want == "") {
				t.Errorf("sent: %t", sent)
			}
		})
	}
}
