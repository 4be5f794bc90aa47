package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
)

func TestDiagnosis(t *testing.T) {
	pass := stage.Check{Name: "arch", Host: "cp-1", Verdict: stage.Pass, Found: "amd64", Want: "one of amd64"}
	fail := stage.Check{Name: "memory", Host: "cp-1", Verdict: stage.Fail, Found: "512 MiB", Want: "1700 MiB", Hint: "add memory"}
	warn := stage.Check{Name: "etcd-quorum", Verdict: stage.Warn, Found: "1\n", Want: "3"}
	for _, tt := range []struct {
		name   string
		checks []stage.Check
		code   int
		want   []string
	}{
		{"good", []stage.Check{warn, pass}, 0, []string{
			"VERDICT  HOST  CHECK        FOUND  WANTED        MEND", "warn     -     etcd-quorum  1      3             -", "1 pass, 1 warn, 0 fail",
		}},
		{"one fails", []stage.Check{pass, fail}, exitPreflight, []string{"fail     cp-1  memory  512 MiB  1700 MiB      add memory", "1 pass, 0 warn, 1 fail"}},
	} {
		var out bytes.Buffer
		a := newApp(nil, &out, nil)
		a.format = "text"
		var quiet quietError
		if err := a.diagnosis("site", tt.checks); errors.As(err, &quiet) != (tt.code != 0) || quiet.code != tt.code {
			t.Errorf("%s: error %v, want exit code %d", tt.name, err, tt.code)
		}
		for _, w := range tt.want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s: no line %q in\n%s", tt.name, w, out.String())
			}
		}
	}
	var out bytes.Buffer
	a := newApp(nil, &out, nil)
	a.format = "json"
	_ = a.diagnosis("site", []stage.Check{warn, fail}) // its code is tested above
	compareOutput(t, "offk8s doctor", out.Bytes())
	var got struct {
		Warn, Fail int
		Checks     []stage.Check
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Warn != 1 || got.Fail != 1 || len(got.Checks) != 2 || got.Checks[1] != fail {
		t.Errorf("error %v, %+v of %s", err, got, out.String())
	}
}

// A failed connection has the advice for its error.
func TestAdvise(t *testing.T) {
	connection := func(host string) stage.Check {
		return stage.Check{Name: "connection", Host: host, Verdict: stage.Fail, Hint: "usual"}
	}
	checks := advise([]stage.Check{connection("a"), connection("b"), {Name: "arch", Host: "a", Hint: "other"}}, map[string]error{
		"a": fmt.Errorf("first command: %w", &host.SudoError{Host: "a", Err: host.ErrSudoTTY}), "b": errors.New("no route to host"),
	})
	for i, want := range []string{"!requiretty", "usual", "other"} {
		if !strings.Contains(checks[i].Hint, want) {
			t.Errorf("%s on %s: hint %q, want %q", checks[i].Name, checks[i].Host, checks[i].Hint, want)
		}
	}
}

func TestIgnored(t *testing.T) {
	c := &manifests.Cluster{HostPrep: manifests.HostPrep{IgnorePreflight: []string{"memory"}}}
	if err := (ignored{"cpus"}).apply(c); err != nil || strings.Join(c.HostPrep.IgnorePreflight, " ") != "memory cpus" {
		t.Errorf("error %v, ignored %q", err, c.HostPrep.IgnorePreflight)
	}
	if err := (ignored{"memroy"}).apply(c); err == nil || !strings.Contains(err.Error(), `--ignore "memroy": want some of `) {
		t.Errorf("error %v", err)
	}
}

// Files that programs of the agent make do not depend on the umask of the login.
func TestAgentUmask(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	var out bytes.Buffer
	a := newApp(strings.NewReader(""), &out, &out)
	agent := a.agentCommand()
	agent.SetArgs([]string{}) // not those of the test
	if err := agent.Execute(); err != nil {
		t.Fatal(err)
	}
	if got := syscall.Umask(0o077); got != 0o022 {
		t.Errorf("umask %04o, want 0022", got)
	}
}
