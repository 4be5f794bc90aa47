package step_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// systemd is a stand-in for one unit: it is there when its file is.
type systemd struct {
	t               *testing.T
	w               *steptest.World
	packaged        bool
	masked          bool // until the next boot
	enabled, active bool
	failStart       bool
	killed          bool // stopping it takes too long: it is killed and has failed
	failed          bool
	stopping        bool // a restart that nobody waits for has only begun
	queued          bool // a start that nobody waits for waits for others
	verbs           []string
}

func (s *systemd) run(_ context.Context, c step.Cmd) (step.Output, error) {
	if c.Argv[0] == "journalctl" {
		return steptest.Say("etcd: bind: address already in use\n")
	}
	if c.Argv[1] == "show" {
		_, there := s.w.Tree(s.t)["etc/systemd/system/etcd.service"]
		load, active, file := "not-found", "inactive", ""
		if there || s.packaged {
			load, file = "loaded", "disabled"
		}
		if s.enabled {
			file = "enabled"
		}
		if s.masked {
			load, file = "masked", "masked-runtime"
		}
		job := ""
		switch {
		case s.queued:
			job = "Job=17\n"
		case s.stopping:
			active = "deactivating"
		case s.active:
			active = "active"
		case s.failed:
			active = "failed"
		}
		return steptest.Say(fmt.Sprintf("LoadState=%s\nActiveState=%s\nSubState=x\nUnitFileState=%s\nNeedDaemonReload=no\n%s",
			load, active, file, job))
	}
	s.verbs = append(s.verbs, c.Argv[1])
	if s.masked && slices.Contains([]string{"enable", "start", "restart"}, c.Argv[1]) {
		return steptest.Exit(c.Argv, 1, "Unit etcd.service is masked")
	}
	switch c.Argv[1] {
	case "unmask":
		s.masked = !slices.Contains(c.Argv, "--runtime")
	case "enable":
		s.enabled = true
	case "disable":
		s.enabled = false
	case "start", "restart":
		if s.failStart {
			return steptest.Exit(c.Argv, 1, "Job for etcd.service failed")
		}
		s.active = true
	case "stop":
		s.active, s.failed = false, s.killed
	case "reset-failed":
		s.failed = false
	}
	return steptest.Say("")
}

func newSystemd(t *testing.T) *systemd {
	s := &systemd{t: t, w: steptest.New(t)}
	s.w.Write(t, "etc/systemd/system/other.service", "", 0o644)
	s.w.Write(t, "etc/etcd.conf", "a", 0o644)
	s.w.Programs = s.run
	return s
}

// TestUnitOfCutPackages: a package manager that was killed leaves the mask of Packages.
func TestUnitOfCutPackages(t *testing.T) {
	s := newSystemd(t)
	s.packaged, s.masked = true, true
	unit := &step.Unit{Name: "etcd.service", Enable: true, Running: true}
	steptest.Suite(t, steptest.Case{Name: "masked", Step: unit, World: s.w})
	if want := []string{"unmask", "enable", "start"}; len(s.verbs) < 3 || !slices.Equal(s.verbs[:3], want) {
		t.Errorf("systemctl %q, want first %q", s.verbs, want)
	}
}

func TestUnit(t *testing.T) {
	unit := &step.Unit{
		Name: "etcd.service", Content: "[Service]\n", Enable: true, Running: true, Triggers: []string{"/etc/etcd.conf", "/etc/none"},
	}
	s := newSystemd(t)
	steptest.Suite(t, steptest.Case{Name: "own unit", Step: unit, World: s.w})
	if s.active || s.enabled {
		t.Errorf("after undo: active %t, enabled %t", s.active, s.enabled)
	}
	p := newSystemd(t)
	p.packaged = true
	steptest.Suite(t, steptest.Case{
		Name: "packaged unit", World: p.w, Step: &step.Unit{Name: "etcd.service", Running: true, Triggers: []string{"/etc/etcd.conf"}},
	})
	q := newSystemd(t)
	q.packaged, q.active, q.enabled = true, true, true
	steptest.Suite(t, steptest.Case{Name: "stopped", World: q.w, Step: &step.Unit{Name: "etcd.service", Stopped: true}})
	if !q.enabled {
		t.Error("stopped unit is not enabled again after undo")
	}
}

// A unit that has to be killed is not left behind in systemd's list as failed:
// the lab's hosts did that with a busy kube-apiserver.
func TestUnitUndoForgetsFailure(t *testing.T) {
	s := newSystemd(t)
	s.killed = true
	u := &step.Unit{Name: "etcd.service", Content: "[Service]\n", Enable: true, Running: true}
	res, err := u.Apply(t.Context(), s.w.Env())
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Undo(t.Context(), s.w.Env(), res.Prior); err != nil {
		t.Fatal(err)
	}
	if s.failed {
		t.Error("the unit is still listed as failed")
	}
}

func TestUnitRestarts(t *testing.T) {
	tests := []struct {
		name   string
		unit   step.Unit
		change func(s *systemd)
		want   []string
	}{
		{name: "nothing changed"},
		{
			name: "trigger changed", want: []string{"daemon-reload", "restart"},
			change: func(s *systemd) { s.w.Write(s.t, "etc/etcd.conf", "b", 0o644) },
		},
		{
			name: "trigger changed, reload", unit: step.Unit{Reload: true}, want: []string{"daemon-reload", "reload"},
			change: func(s *systemd) { s.w.Write(s.t, "etc/etcd.conf", "b", 0o644) },
		},
		{
			name: "unit file changed by hand", unit: step.Unit{Reload: true}, want: []string{"daemon-reload"},
			change: func(s *systemd) { s.w.Write(s.t, "etc/systemd/system/etcd.service", "x", 0o644) },
		},
		{name: "died", want: []string{"daemon-reload", "start"}, change: func(s *systemd) { s.active = false }},
		{name: "disabled", want: []string{"daemon-reload", "enable"}, change: func(s *systemd) { s.enabled = false }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSystemd(t)
			u := tt.unit
			u.Name, u.Content, u.Enable, u.Running = "etcd.service", "[Service]\n", true, true
			u.Triggers = []string{"/etc/etcd.conf"}
			env := s.w.Env()
			if _, err := u.Apply(t.Context(), env); err != nil {
				t.Fatal(err)
			}
			s.verbs = nil
			if tt.change != nil {
				tt.change(s)
			}
			res, err := u.Check(t.Context(), env)
			if err != nil {
				t.Fatal(err)
			}
			if (res.State == step.OK) != (tt.change == nil) {
				t.Fatalf("check: %s %q", res.State, res.Reason)
			}
			if res.State != step.OK {
				if _, err := u.Apply(t.Context(), env); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want, s.verbs); diff != "" {
				t.Errorf("systemctl verbs (-want +got):\n%s", diff)
			}
		})
	}
}

// A restart that nobody waits for stops the unit first, and a start waits for others; a unit
// that is waited for and stops does not run.
func TestUnitRestartsInTheBackground(t *testing.T) {
	for noBlock, want := range map[bool]step.State{true: step.OK, false: step.Differs} {
		s := newSystemd(t)
		u := step.Unit{Name: "etcd.service", Content: "[Service]\n", Enable: true, Running: true, NoBlock: noBlock}
		if _, err := u.Apply(t.Context(), s.w.Env()); err != nil {
			t.Fatal(err)
		}
		for _, queued := range []bool{false, true} {
			s.stopping, s.queued = !queued, queued
			if res, err := u.Check(t.Context(), s.w.Env()); err != nil || res.State != want {
				t.Errorf("in the background %t, queued %t: %+v, error %v; want %s", noBlock, queued, res, err, want)
			}
		}
	}
}

func TestUnitFailureShowsItsLog(t *testing.T) {
	s := newSystemd(t)
	s.failStart = true
	_, err := (&step.Unit{Name: "etcd.service", Content: "x", Running: true}).Apply(t.Context(), s.w.Env())
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error %v, want the unit's log", err)
	}
}

func TestUnitUndoOfPackagedDaemon(t *testing.T) {
	s := newSystemd(t)
	s.packaged, s.active, s.enabled = true, true, true
	u := &step.Unit{Name: "etcd.service", Enable: true, Running: true, Triggers: []string{"/etc/etcd.conf"}}
	env := s.w.Env()
	res, err := u.Apply(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	var after [][]string
	env.After = func(argv []string) { after = append(after, argv) }
	if err := u.Undo(t.Context(), env, res.Prior); err != nil {
		t.Fatal(err)
	}
	if !s.active || !s.enabled || slices.Contains(s.verbs, "stop") {
		t.Errorf("daemon that ran before was stopped: %q", s.verbs)
	}
	if len(after) != 1 || !slices.Contains(after[0], "restart") {
		t.Errorf("after undo: %q, want a restart with the former configuration", after)
	}
}

// The units of a request are one question. If systemd does not answer for all of them,
// each is asked for alone.
func TestUnitsTogether(t *testing.T) {
	w := steptest.New(t)
	var asked []string
	some := false
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		names := c.Argv[4:]
		asked = append(asked, strings.Join(names, " "))
		if some && len(names) > 1 {
			names = names[1:]
		}
		out := ""
		for _, n := range names {
			active := "inactive"
			if n == "b.service" {
				active = "active"
			}
			out += "LoadState=loaded\nActiveState=" + active + "\nUnitFileState=disabled\n\n"
		}
		return steptest.Say(out)
	}
	env := w.Env()
	for _, n := range []string{"a.service", "b.service"} {
		env.Kept = append(env.Kept, &step.Unit{Name: n, Stopped: true})
	}
	look := func(name string) step.State {
		t.Helper()
		res, err := (&step.Unit{Name: name, Stopped: true}).Check(t.Context(), env)
		if err != nil {
			t.Fatal(err)
		}
		return res.State
	}
	for _, want := range [][]string{
		{"a.service b.service", "a.service b.service", "c.service"},
		{"a.service b.service", "a.service", "a.service b.service", "b.service", "c.service"},
	} {
		asked = nil
		if a, b, c := look("a.service"), look("b.service"), look("c.service"); a != step.OK || b != step.Differs || c != step.OK {
			t.Errorf("a %s, b %s, c %s; only b runs", a, b, c)
		}
		if !slices.Equal(asked, want) {
			t.Errorf("asked %q, want %q", asked, want)
		}
		some = true
	}
}

// A unit that the distribution starts when its package is installed did not run before.
func TestUnitOfPackage(t *testing.T) {
	for _, ours := range []bool{true, false} {
		w := steptest.New(t)
		s := &systemd{t: t, w: w, packaged: true, enabled: true, active: true}
		w.Programs = s.run
		env := w.Env()
		if ours {
			if err := env.SetStamp("package/etcd", "installed"); err != nil {
				t.Fatal(err)
			}
		}
		u := &step.Unit{Name: "etcd.service", Package: "etcd", Enable: true, Running: true}
		res, err := u.Apply(t.Context(), env)
		if err != nil {
			t.Fatal(err)
		}
		if err := u.Undo(t.Context(), env, res.Prior); err != nil {
			t.Fatal(err)
		}
		if s.active == ours || s.enabled == ours {
			t.Errorf("installed by offk8s %t: after undo active %t, enabled %t", ours, s.active, s.enabled)
		}
	}
}
