package agent_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

var drilled = []string{"haproxy.service", "keepalived.service"}

// stopWorld returns an installed host with services.
func stopWorld(t *testing.T) (*world, *steptest.Systemd) {
	t.Helper()
	w := newWorld(t, 1)
	sd := steptest.NewSystemd("haproxy.service", "keepalived.service", "etcd.service")
	w.Programs = sd.Run
	req := w.request(agent.ModeApply, item("a", &step.File{Path: "/a"}))
	req.Identity = "id"
	if _, err := w.do(req); err != nil {
		t.Fatal(err)
	}
	return w, sd
}

func stopRequest(mode agent.Mode, units ...string) agent.Request {
	return agent.Request{Protocol: agent.Protocol, Mode: mode, Cluster: "lab", Host: "cp-1", Identity: "id", Units: units}
}

// serveAll sends requests one after the other and then hangs up.
func (w *world) serveAll(reqs ...agent.Request) []agent.Event {
	w.t.Helper()
	in, operator := io.Pipe()
	var out answers
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = agent.Serve(w.t.Context(), in, &out, w.options())
	}()
	for _, req := range reqs {
		line, err := json.Marshal(req)
		if err != nil {
			w.t.Fatal(err)
		}
		ended := out.until(agent.EventEnd)
		if _, err := operator.Write(append(line, '\n')); err != nil {
			w.t.Fatal(err)
		}
		<-ended
	}
	operator.Close()
	<-done
	return out.all(w.t)
}

func TestStopAndStart(t *testing.T) {
	w, sd := stopWorld(t)
	var between []string
	var timer []string
	sd.Fail = func(argv []string) error {
		if argv[1] == "stop" && slices.Contains(argv, "haproxy.service") {
			between = append(between, "stop")
		}
		if argv[0] == "systemd-run" {
			between = append(between, "timer")
			timer = argv[2:]
		}
		return nil
	}
	events := w.serveAll(stopRequest(agent.ModeStop, drilled...), stopRequest(agent.ModeStart, drilled...))
	for _, e := range events {
		if err := e.Err(); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{"timer", "stop"}, between); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"--on-active=240", "systemctl", "start", "--", "haproxy.service", "keepalived.service"}, timer); diff != "" {
		t.Errorf("timer (-want +got):\n%s", diff)
	}
	if s := sd.Stopped(); len(s) > 0 || sd.Timer("offk8s-drill") != nil {
		t.Errorf("stopped at the end: %v, timer %v", s, sd.Timer("offk8s-drill"))
	}
}

// An operator who disappears leaves no unit stopped.
func TestStoppedUnitsStartWhenTheSessionEnds(t *testing.T) {
	w, sd := stopWorld(t)
	stopped := 0
	sd.Fail = func(argv []string) error {
		if argv[1] == "stop" && slices.Contains(argv, "haproxy.service") {
			stopped++
		}
		return nil
	}
	w.serveAll(stopRequest(agent.ModeStop, drilled...))
	if s := sd.Stopped(); stopped != 1 || len(s) > 0 || sd.Timer("offk8s-drill") != nil {
		t.Errorf("stopped %d times, at the end %v, timer %v", stopped, s, sd.Timer("offk8s-drill"))
	}
}

// The timer stays until the units run.
func TestStopWithFailures(t *testing.T) {
	fails := func(verb string) func([]string) error {
		return func(argv []string) error {
			if (argv[0] == verb || argv[1] == verb) && slices.Contains(argv, "haproxy.service") {
				return errors.New(verb + " fails")
			}
			return nil
		}
	}
	for verb, tt := range map[string]struct {
		stopped []string
		timer   bool
	}{
		"systemd-run": {},
		"stop":        {},
		"start":       {stopped: drilled, timer: true},
	} {
		t.Run(verb, func(t *testing.T) {
			w, sd := stopWorld(t)
			sd.Fail = fails(verb)
			events := w.serveAll(stopRequest(agent.ModeStop, drilled...), stopRequest(agent.ModeStart, drilled...))
			failed := slices.ContainsFunc(events, func(e agent.Event) bool { return strings.Contains(e.Error, verb+" fails") })
			if !failed {
				t.Errorf("events %+v, want an error", events)
			}
			if diff := cmp.Diff(tt.stopped, sd.Stopped()); diff != "" {
				t.Errorf("stopped (-want +got):\n%s", diff)
			}
			if got := sd.Timer("offk8s-drill"); (got != nil) != tt.timer {
				t.Errorf("timer %v", got)
			}
		})
	}
}

func TestStopRefused(t *testing.T) {
	w, sd := stopWorld(t)
	sd.Fail = func(argv []string) error {
		t.Errorf("call %q", argv)
		return nil
	}
	fresh := newWorld(t, 1)
	fresh.Programs = sd.Run
	for name, tt := range map[string]struct {
		w    *world
		want error
		set  func(*agent.Request)
	}{
		"no units":       {w, agent.ErrRequest, func(r *agent.Request) { r.Units = nil }},
		"an option":      {w, agent.ErrRequest, func(r *agent.Request) { r.Units = []string{"--force.service"} }},
		"a target":       {w, agent.ErrRequest, func(r *agent.Request) { r.Units = []string{"multi-user.target"} }},
		"other cluster":  {w, agent.ErrPolicy, func(r *agent.Request) { r.Cluster = "other" }},
		"other identity": {w, agent.ErrIdentity, func(r *agent.Request) { r.Identity = "other" }},
		"not installed":  {fresh, agent.ErrPolicy, func(*agent.Request) {}},
	} {
		req := stopRequest(agent.ModeStop, drilled...)
		tt.set(&req)
		b, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tt.w.send(t.Context(), bytes.NewReader(b)); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", name, err, tt.want)
		}
	}
}
