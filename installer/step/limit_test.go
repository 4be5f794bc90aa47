package step_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// runnerFunc is a Runner.
type runnerFunc func(ctx context.Context, c step.Cmd) (step.Output, error)

func (f runnerFunc) Run(ctx context.Context, c step.Cmd) (step.Output, error) { return f(ctx, c) }

// forever is a program that ends only with its context.
func forever(ctx context.Context, _ step.Cmd) (step.Output, error) {
	<-ctx.Done()
	return step.Output{Stdout: []byte("Another app is currently holding the yum lock\n")}, context.Cause(ctx)
}

func TestLimited(t *testing.T) {
	yum := step.Cmd{Argv: []string{"yum"}, Timeout: time.Hour, Finish: 10 * time.Minute}
	tests := []struct {
		name   string
		cmd    step.Cmd
		cancel time.Duration // 0: never
		takes  time.Duration // 0: forever
		ends   time.Duration
		want   string // of the error
		log    bool
	}{
		{name: "default limit", cmd: step.Cmd{Argv: []string{"yum"}}, ends: step.DefaultTimeout, want: `"yum": not finished after 5m0s, its output ends: Another app is`},
		{name: "its limit", cmd: yum, ends: time.Hour, want: "not finished after 1h0m0s"},
		{name: "in time", cmd: yum, takes: 59 * time.Minute, ends: 59 * time.Minute},
		{name: "cancelled", cmd: step.Cmd{Argv: []string{"yum"}}, cancel: time.Minute, ends: time.Minute, want: "canceled"},
		{name: "cancelled, finishes", cmd: yum, cancel: time.Minute, takes: 5 * time.Minute, ends: 5 * time.Minute, log: true},
		{name: "cancelled, does not finish", cmd: yum, cancel: time.Minute, ends: 11 * time.Minute, want: "canceled", log: true},
		{name: "cancelled before its limit", cmd: yum, cancel: 55 * time.Minute, ends: time.Hour, want: "not finished after 1h0m0s", log: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.cancel > 0 {
					time.AfterFunc(tt.cancel, cancel)
				}
				start := time.Now()
				_, err := step.Limited{Log: slog.New(slog.NewTextHandler(&log, nil)), Runner: runnerFunc(func(ctx context.Context, c step.Cmd) (step.Output, error) {
					if tt.takes == 0 {
						return forever(ctx, c)
					}
					select {
					case <-ctx.Done():
						return step.Output{}, context.Cause(ctx)
					case <-time.After(tt.takes):
						return steptest.Say("done")
					}
				})}.Run(ctx, tt.cmd)
				if took := time.Since(start); took != tt.ends {
					t.Errorf("took %s, want %s", took, tt.ends)
				}
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				cancel()
				synctest.Wait()
				if logged := strings.Contains(log.String(), `waiting for \"yum\" to finish, at most 10m0s`); logged != tt.log {
					t.Errorf("log %q", log.String())
				}
			})
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	started := runnerFunc(func(context.Context, step.Cmd) (step.Output, error) { t.Error("started"); return step.Output{}, nil })
	if _, err := (step.Limited{Runner: started}).Run(ctx, yum); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: error %v", err)
	}
}

// TestExecDetached: a program that must finish has its own session and no pipe to the
// agent, so that the end of neither the login nor the agent ends it.
func TestExecDetached(t *testing.T) {
	script := "echo bad >&2; ps -o sid= -p $$; echo $$; readlink /proc/$$/fd/1 /proc/$$/fd/2; exit 3"
	out, err := step.Exec{}.Run(t.Context(), step.Cmd{Argv: []string{"sh", "-c", script}, Finish: time.Minute})
	exit := (*step.ExitError)(nil)
	if !errors.As(err, &exit) || exit.Code != 3 || exit.Stderr != "bad" {
		t.Fatalf("error %v, want code 3 and stderr", err)
	}
	f := strings.Fields(string(out.Stdout))
	if len(f) < 4 || f[0] != f[1] {
		t.Errorf("session %q is not the one of the program", f)
	}
	for _, fd := range f[2:] {
		if strings.Contains(fd, "pipe:") {
			t.Errorf("writes to a pipe: %q", f)
		}
	}
	// The context ends it all the same; Limited keeps it away until then.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (step.Exec{}).Run(ctx, step.Cmd{Argv: []string{"sleep", "60"}, Finish: time.Minute}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the end of the context", err)
	}
}

// TestSlowPrograms: the programs whose time grows with the host or the bundle.
func TestSlowPrograms(t *testing.T) {
	w := steptest.New(t)
	limits := map[string]time.Duration{}
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		limits[strings.Join(c.Argv[:min(len(c.Argv), 5)], " ")] = c.Timeout
		return steptest.Say("")
	}
	image := &step.Image{Name: "registry.k8s.io/pause:3.9", Digest: w.Artifact("pause")}
	if _, err := image.Apply(t.Context(), w.Env()); err != nil {
		t.Fatal(err)
	}
	if got := limits["/usr/local/bin/ctr --namespace k8s.io images pull"]; got != 30*time.Minute {
		t.Errorf("pull: limit %s of %v", got, limits)
	}
}
