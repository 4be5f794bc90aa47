package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/step"
)

// ended runs one task of 2048 of 4096 bytes that ends with err.
func ended(mode string, err error) string {
	var stderr bytes.Buffer
	a := newApp(nil, nil, &stderr)
	a.progress = mode
	p, end := a.newProgress()
	task := p.Start("etcd v3", 0)
	task.Total(4096)
	task.Add(2048)
	task.Done(err)
	end()
	return stderr.String()
}

func TestPlainProgress(t *testing.T) {
	tests := []struct {
		name, mode string
		err        error
		want       string
	}{
		{"done", "plain", nil, "done      etcd v3 2.0 KiB\n"},
		{"failed", "plain", errors.New("cut off"), "failed    etcd v3\n"},
		{"stopped by the user", "plain", fmt.Errorf("get: %w", context.Canceled), ""},
		{"a pipe is no terminal", "auto", nil, "done      etcd v3 2.0 KiB\n"},
		{"none", "none", nil, ""},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, ended(tt.mode, tt.err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestJSONProgress(t *testing.T) {
	for name, err := range map[string]error{"done": nil, "failed": errors.New("cut off"), "stopped": context.Canceled} {
		var got lineEvent
		if err := json.Unmarshal([]byte(ended("json", err)), &got); err != nil {
			t.Fatal(err)
		}
		got.Took = 0
		want := lineEvent{Event: name, Name: "etcd v3", Bytes: 2048, Size: 4096}
		if err != nil {
			want.Error = err.Error()
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestLongTasksAreToldOf(t *testing.T) {
	var out bytes.Buffer
	l := &lines{w: &out, write: plainLine}
	task := l.Start("etcd", 3<<20).(*lineTask)
	task.Add(1 << 20)
	if out.Len() > 0 {
		t.Errorf("shown at once: %q", out.String())
	}
	task.shown = task.shown.Add(-11 * time.Second)
	task.Add(1 << 19)
	task.Add(1 << 19)
	if got, want := out.String(), "progress  etcd 1.5 MiB of 3.0 MiB\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Parallel downloads that wait for the same host are one line.
func TestWaitingLines(t *testing.T) {
	var out bytes.Buffer
	show := waiting(&lines{w: &out, write: plainLine})
	down := &url.Error{Op: "Get", URL: "https://a.example/v2/", Err: &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host"}}}
	pause := fetch.Wait{What: "a.example/x:1", Attempt: 2, Attempts: 5, For: time.Hour, Err: down}
	show(pause)
	show(pause)
	show(fetch.Wait{What: "https://b.example/f", Attempt: 1, Attempts: 5, For: time.Second, Err: &fetch.StatusError{Code: 503, URL: "https://b.example/f"}})
	want := "waiting   a.example: no such host (attempt 2 of 5, again in 1h0m0s)\n" +
		"waiting   b.example: answered 503 Service Unavailable (attempt 1 of 5, again in 1s)\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if waiting(fetch.Silent()) != nil {
		t.Error("a display without lines shows pauses")
	}
}

func TestShorten(t *testing.T) {
	if got := shorten("registry.k8s.io/pause", 6); got != "…pause" {
		t.Errorf("shorten cut it to %q", got)
	}
	if got := shorten("pause", 6); got != "pause" {
		t.Errorf("shorten changed a short name to %q", got)
	}
}

// runOf shows one stage with a changed, a done and a failed step.
func runOf(p installer.Progress) {
	p.StageStart("etcd", "etcd", 2)
	p.Event("etcd", "cp-1", agent.Event{Type: agent.EventStep, ID: "unit-etcd", State: step.Changed})
	p.Event("etcd", "cp-1", agent.Event{Type: agent.EventStep, ID: "dir-etcd", State: step.OK})
	p.Event("etcd", "cp-2", agent.Event{Type: agent.EventStep, ID: "wait-etcd", State: step.Failed, Reason: "no answer"})
	p.Event("etcd", "cp-2", agent.Event{Type: agent.EventLog, Level: "INFO", Text: "asked"})
	p.Event("etcd", "cp-2", agent.Event{Type: agent.EventLog, Level: "WARN", Text: "slow"})
	p.StageEnd(installer.StageReport{Name: "etcd", Failed: []string{"cp-2"}})
}

func TestRunLines(t *testing.T) {
	tests := []struct {
		name, mode string
		quiet      bool
		verbose    int
		want       []string
		wantNot    []string
	}{
		{"changes and failures", "plain", false, 0, []string{"etcd (2 hosts)", "unit-etcd", "failed   wait-etcd\n", "WARN: slow", "failed on [cp-2]"}, []string{"dir-etcd", "asked", "no answer"}},
		{"verbose", "plain", false, 1, []string{"dir-etcd", "asked", "wait-etcd: no answer"}, nil},
	}
	for _, tt := range tests {
		var stderr bytes.Buffer
		a := newApp(nil, nil, &stderr)
		a.progress, a.quiet, a.verbose = tt.mode, tt.quiet, tt.verbose
		p, end := a.newRunProgress()
		runOf(p)
		end()
		for _, s := range tt.want {
			if !strings.Contains(stderr.String(), s) {
				t.Errorf("%s: no %q in\n%s", tt.name, s, stderr.String())
			}
		}
		for _, s := range tt.wantNot {
			if strings.Contains(stderr.String(), s) {
				t.Errorf("%s: %q in\n%s", tt.name, s, stderr.String())
			}
		}
	}
}

func TestRunJSON(t *testing.T) {
	var stderr bytes.Buffer
	a := newApp(nil, nil, &stderr)
	a.progress = "json"
	p, end := a.newRunProgress()
	runOf(p)
	end()
	var events []string
	for _, line := range strings.Split(strings.TrimSpace(stderr.String()), "\n") {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		events = append(events, v["event"].(string))
		if v["event"] == "host" && (v["stage"] != "etcd" || v["host"] == "") {
			t.Errorf("%q lacks stage or host", line)
		}
	}
	want := []string{"stage", "host", "host", "host", "host", "host", "stageEnd"}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestNoRunProgress(t *testing.T) {
	for _, a := range []*app{{quiet: true, progress: "plain"}, {progress: "none"}} {
		var stderr bytes.Buffer
		a.stderr = &stderr
		p, end := a.newRunProgress()
		runOf(p)
		end()
		if stderr.Len() > 0 {
			t.Errorf("quiet %t, progress %s: %q", a.quiet, a.progress, stderr.String())
		}
	}
}
