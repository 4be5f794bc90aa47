package step_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

func TestCommand(t *testing.T) {
	done := false
	w := steptest.New(t)
	w.Secrets["s"] = "token"
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		switch c.Argv[0] {
		case "check":
			if !done {
				return steptest.Exit(c.Argv, 1, "not there")
			}
			return steptest.Say("state: there\n")
		case "do":
			if string(c.Stdin) != "token" {
				t.Errorf("stdin %q", c.Stdin)
			}
			done = true
		case "undo":
			done = false
		}
		return steptest.Say("fine")
	}
	steptest.Suite(t, steptest.Case{Name: "checked", World: w, Step: &step.Command{
		Argv: []string{"do", "it"}, CheckArgv: []string{"check"}, CheckOutput: "there", StdinSecret: "s", UndoArgv: []string{"undo"},
	}})
	if done {
		t.Error("not undone")
	}
	w.Write(t, "etc/trigger", "a", 0o644)
	once := &step.Command{Argv: []string{"once"}, Once: true, Triggers: []string{"/etc/trigger"}}
	steptest.Suite(t, steptest.Case{Name: "once", World: w, Step: once})
	w.Write(t, "etc/trigger", "b", 0o644)
	if res, err := once.Check(t.Context(), w.Env()); err != nil || res.State != step.Differs {
		t.Errorf("once after its trigger changed: %s %v, want differs", res.State, err)
	}
	res, err := (&step.Command{Argv: []string{"x"}, Verify: true}).Check(t.Context(), w.Env())
	if err != nil || res.State != step.Verified {
		t.Errorf("verify: %s %v", res.State, err)
	}
	for _, bad := range []step.Command{
		{Argv: []string{"x"}},
		{Argv: []string{"x"}, Verify: true, Once: true},
		{Verify: true},
		{Argv: []string{"x", "a\x00b"}, Verify: true},
		{Argv: []string{"x"}, Once: true, Stdin: "a", StdinSecret: "b"},
	} {
		if bad.Validate() == nil {
			t.Errorf("accepts %+v", bad)
		}
	}
}

func TestWait(t *testing.T) {
	answers := 0
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if answers++; answers < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte("health: true"))
	}))
	defer srv.Close()
	proxied := false
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied = true }))
	defer proxy.Close()
	t.Setenv("HTTPS_PROXY", proxy.URL)
	t.Setenv("https_proxy", proxy.URL)
	w := steptest.New(t)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	w.Write(t, "ca.crt", string(ca), 0o644)
	steptest.Suite(t, steptest.Case{Name: "https", World: w, Done: step.Verified, Step: &step.Wait{
		URL: srv.URL, CAFile: "/ca.crt", Expect: "true", Timeout: step.Duration(time.Minute), Interval: step.Duration(time.Millisecond),
	}})
	if proxied {
		t.Error("went through the proxy of the environment")
	}
	either := &step.Wait{
		URL: "tcp://127.0.0.1:1", Or: []string{srv.URL}, CAFile: "/ca.crt", Timeout: step.Duration(time.Minute), Interval: step.Duration(time.Millisecond),
	}
	if res, err := either.Apply(t.Context(), w.Env()); err != nil || res.State != step.Verified {
		t.Errorf("the second URL answers: %+v, %v", res, err)
	}
	never := &step.Wait{
		URL: srv.URL, CAFile: "/ca.crt", Expect: "green", Timeout: step.Duration(30 * time.Millisecond), Interval: step.Duration(time.Millisecond),
	}
	if _, err := never.Apply(t.Context(), w.Env()); err == nil || !strings.Contains(err.Error(), `lacks "green"`) {
		t.Errorf("error %v, want the last answer", err)
	}
	if (&step.Wait{URL: "https://x"}).Validate() == nil {
		t.Error("accepts https without a CA")
	}
}

// A step that waits logs its reason when that changes, so that the operator sees it.
func TestWaitLogsReasons(t *testing.T) {
	answers := []string{"refused", "refused", "starting", "ready"}
	w := steptest.New(t)
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		said := answers[0]
		answers = answers[1:]
		if said == "ready" {
			return steptest.Say(said)
		}
		return steptest.Exit(c.Argv, 1, said)
	}
	var log bytes.Buffer
	env := w.Env()
	env.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	wait := &step.Wait{Argv: []string{"ask"}, Interval: step.Duration(time.Millisecond)}
	if _, err := wait.Apply(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	reasons := []string{"no pods", "no pods", "1 of 2", ""}
	err := step.Poll(t.Context(), env, time.Minute, time.Millisecond, "pods", func(context.Context) (string, error) {
		r := reasons[0]
		reasons = reasons[1:]
		return r, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"refused", "starting", "not yet: no pods", "not yet: 1 of 2"} {
		if n := strings.Count(log.String(), want); n != 1 {
			t.Errorf("%q is logged %d times, want 1:\n%s", want, n, log.String())
		}
	}
	if n := strings.Count(log.String(), "level=DEBUG"); n != 4 {
		t.Errorf("%d lines, want 4:\n%s", n, log.String())
	}
}

func TestExec(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy")
	out, err := step.Exec{}.Run(t.Context(), step.Cmd{Argv: []string{"env"}, Env: []string{"EXTRA=1"}})
	if err != nil {
		t.Fatal(err)
	}
	if s := string(out.Stdout); strings.Contains(s, "PROXY") || !strings.Contains(s, "EXTRA=1") || !strings.Contains(s, "LC_ALL=C") {
		t.Errorf("environment:\n%s", s)
	}
	_, err = step.Exec{}.Run(t.Context(), step.Cmd{Argv: []string{"sh", "-c", "echo bad >&2; exit 3"}})
	exit := (*step.ExitError)(nil)
	if !errors.As(err, &exit) || exit.Code != 3 || exit.Stderr != "bad" {
		t.Errorf("error %v, want code 3 and stderr", err)
	}
	_, err = step.Exec{}.Run(t.Context(), step.Cmd{Argv: []string{"offk8s-no-such-program"}})
	if lacks := (*step.NotFoundError)(nil); !errors.As(err, &lacks) {
		t.Errorf("error %v, want NotFoundError", err)
	}
}

// TestExecCancel proves that a cancelled program ends together with its children.
func TestExecCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	file := filepath.Join(t.TempDir(), "started")
	go func() {
		for range 1000 {
			if _, err := os.Stat(file); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
	}()
	start := time.Now()
	_, err := step.Exec{}.Run(ctx, step.Cmd{Argv: []string{"sh", "-c", "touch " + file + "; sleep 60 | sleep 60"}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("took %s: the child was not ended", took)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := `{"id":"a","kind":"file","spec":{"path":"/x","mode":"0600"}}`
	if _, err := step.All().Decode([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"unknown kind":      `{"id":"a","kind":"shell","spec":{}}`,
		"unknown field":     `{"id":"a","kind":"file","spec":{"path":"/x","run":"y"}}`,
		"unknown item key":  `{"id":"a","kind":"file","spec":{"path":"/x"},"sudo":true}`,
		"trailing data":     good + `{}`,
		"invalid spec":      `{"id":"a","kind":"file","spec":{"path":"x"}}`,
		"no id":             `{"kind":"file","spec":{"path":"/x"}}`,
		"mode as a number":  `{"id":"a","kind":"file","spec":{"path":"/x","mode":420}}`,
		"setuid":            `{"id":"a","kind":"file","spec":{"path":"/x","mode":"4755"}}`,
		"secret for others": `{"id":"a","kind":"file","spec":{"path":"/x","secret":"s","mode":"0644"}}`,
	} {
		if _, err := step.All().Decode([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestKindsAreNamedAsListed(t *testing.T) {
	for name, build := range step.All() {
		if got := build().Kind(); got != name {
			t.Errorf("kind %q is listed as %q", got, name)
		}
	}
}
