package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// operator is the other end of an agent's session.
type operator struct {
	t     *testing.T
	out   answers
	in    *io.PipeWriter
	ended chan error
	read  int // events of earlier answers
}

// operator starts a session with the agent of the host.
func (w *world) operator() *operator {
	w.t.Helper()
	r, in := io.Pipe()
	o := &operator{t: w.t, in: in, ended: make(chan error, 1)}
	ctx := w.t.Context()
	go func() {
		err := agent.Serve(ctx, r, &o.out, w.options())
		_ = r.Close()
		o.ended <- err
	}()
	return o
}

// ready gives the host the files that facts need.
func (w *world) ready() {
	w.Write(w.t, "proc/sys/kernel/osrelease", "6.1\n", 0o644)
	w.Write(w.t, "proc/sys/kernel/hostname", "cp-1\n", 0o644)
	w.Write(w.t, "proc/meminfo", "MemTotal: 4194304 kB\n", 0o644)
	w.Write(w.t, "etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n", 0o644)
}

// send sends a request and does not wait.
func (o *operator) send(req agent.Request) {
	o.t.Helper()
	b, err := json.Marshal(req)
	if err != nil {
		o.t.Fatal(err)
	}
	if _, err := o.in.Write(append(b, '\n')); err != nil {
		o.t.Fatal(err)
	}
}

// ask sends a request and returns the events of the answer and its error.
func (o *operator) ask(req agent.Request) ([]agent.Event, error) {
	o.t.Helper()
	end := o.out.until(agent.EventEnd)
	o.send(req)
	<-end
	return o.answer()
}

// answer returns the events since the last one, and the error of their end.
func (o *operator) answer() ([]agent.Event, error) {
	o.t.Helper()
	events := o.out.all(o.t)[o.read:]
	end := slices.IndexFunc(events, func(e agent.Event) bool { return e.Type == agent.EventEnd })
	o.read += end + 1
	return events[:end+1], events[end].Err()
}

// leave closes the agent's input and returns the error of Serve.
func (o *operator) leave() error {
	_ = o.in.Close()
	return <-o.ended
}

func TestSessionOfManyRequests(t *testing.T) {
	w := newWorld(t, 1)
	o := w.operator()
	ask := func(req agent.Request, want ...string) []agent.Event {
		t.Helper()
		events, err := o.ask(req)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, states(events)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		return events
	}
	installed := func() bool {
		t.Helper()
		events := ask(agent.Request{Protocol: agent.Protocol, Mode: agent.ModeFacts})
		return events[0].Facts.Installed != nil
	}
	w.ready()
	if installed() {
		t.Error("facts before the first apply: installed")
	}
	a, b := item("a", &step.File{Path: "/a", Content: "x"}), item("b", kubelet(w))
	ask(w.request(agent.ModeApply, a), "a changed")
	if !installed() {
		t.Error("facts after the first apply: not installed")
	}
	// The next request finds the bundle neither on the mirror nor in the cache on disk.
	if err := os.RemoveAll(filepath.Join(w.Root, "var/lib/offk8s/bundle")); err != nil {
		t.Fatal(err)
	}
	asked := len(w.paths)
	ask(w.request(agent.ModeApply, a, b), "a ok", "b changed")
	if diff := cmp.Diff(1, len(w.paths)-asked); diff != "" {
		t.Errorf("requests to the mirror after the first verification, for one artifact (-want +got):\n%s%q", diff, w.paths)
	}
	// The verified bundle does not pass for another one.
	fake := w.request(agent.ModeCheck)
	fake.Bundle.Root = digest.FromString("other")
	if _, err := o.ask(fake); !errors.Is(err, agent.ErrVerify) {
		t.Errorf("another root: error %v, want ErrVerify", err)
	}
	ask(w.request(agent.ModeUndo), "b changed", "a changed")
	if installed() {
		t.Error("facts after the undo: installed")
	}
	ask(w.request(agent.ModeApply, a), "a changed")
	if err := o.leave(); err != nil {
		t.Error(err)
	}
}

// TestT63Locked: an operator holds the host from the first request that may change it to
// the end of the session.
func TestT63Locked(t *testing.T) {
	w := newWorld(t, 1)
	w.ready()
	other, o := w.operator(), w.operator()
	facts := agent.Request{Protocol: agent.Protocol, Mode: agent.ModeFacts}
	if _, err := other.ask(facts); err != nil {
		t.Fatal(err)
	}
	a := item("a", &step.File{Path: "/a", Content: "x"})
	for _, mode := range []agent.Mode{agent.ModeCheck, agent.ModeApply} {
		if _, err := o.ask(w.request(mode, a)); err != nil {
			t.Fatal(err)
		}
		if _, err := other.ask(w.request(agent.ModeCheck)); !errors.Is(err, agent.ErrLocked) || !strings.Contains(err.Error(), "process ") {
			t.Errorf("after %s: error %v, want ErrLocked that names the process", mode, err)
		}
		if _, err := other.ask(facts); err != nil {
			t.Errorf("facts of a locked host: %v", err)
		}
	}
	if err := o.leave(); err != nil {
		t.Error(err)
	}
	if events, err := other.ask(w.request(agent.ModeApply, a)); err != nil || !cmp.Equal(states(events), []string{"a ok"}) {
		t.Errorf("after the first operator left: %q, error %v", states(events), err)
	}
	// After an undo there is nothing to hold.
	if _, err := other.ask(w.request(agent.ModeUndo)); err != nil {
		t.Error(err)
	}
	if _, err := w.do(w.request(agent.ModeApply, a)); err != nil {
		t.Errorf("after the undo: %v", err)
	}
	_ = other.leave()
}

func TestSessionGoesOnAfterErrors(t *testing.T) {
	w := newWorld(t, 1)
	o := w.operator()
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) { return steptest.Exit(c.Argv, 1, "no space") }
	bad := item("bad", &step.Command{Argv: []string{"mkfs"}, Once: true})
	for range 2 {
		if _, err := o.ask(w.request(agent.ModeApply, bad)); !errors.Is(err, agent.ErrStep) {
			t.Errorf("error %v, want ErrStep", err)
		}
		if _, err := o.ask(agent.Request{Protocol: "offk8s-agent/0"}); !errors.Is(err, agent.ErrRequest) {
			t.Errorf("error %v, want ErrRequest", err)
		}
	}
	w.Programs = func(context.Context, step.Cmd) (step.Output, error) { return steptest.Say("") }
	if _, err := o.ask(w.request(agent.ModeApply, bad)); err != nil {
		t.Error(err)
	}
	if _, err := o.ask(w.request(agent.ModeUndo)); err != nil {
		t.Error(err)
	}
	if err := o.leave(); err != nil {
		t.Errorf("the last request was good: %v", err)
	}
}

// TestSessionHidesAllSecrets: a program may print what an earlier request brought.
func TestSessionHidesAllSecrets(t *testing.T) {
	w := newWorld(t, 1)
	o := w.operator()
	for _, value := range []string{"first-secret-1", "second-secret-2", "third-secret-3"} {
		req := w.request(agent.ModeApply)
		req.Secrets = map[string][]byte{"token": []byte(value)}
		if _, err := o.ask(req); err != nil {
			t.Fatal(err)
		}
	}
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		return steptest.Exit(c.Argv, 1, "bad: first-secret-1 second-secret-2 third-secret-3")
	}
	_, err := o.ask(w.request(agent.ModeApply, item("x", &step.Command{Argv: []string{"x"}, Once: true})))
	if err == nil || !strings.Contains(err.Error(), "bad: *** *** ***") {
		t.Errorf("error %v", err)
	}
	_ = o.leave()
	if text := o.out.text(); strings.Contains(text, "-secret-") {
		t.Errorf("a secret is left: %s", text)
	}
}

func TestSessionEndsWithTheOperator(t *testing.T) {
	for name, leave := range map[string]func(o *operator){
		"the operator went away":                    func(o *operator) { _ = o.in.Close() },
		"no sign of life from the operator for 45s": func(o *operator) {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.bundle = agent.Bundle{} // the mirror is outside of the bubble
			synctest.Test(t, func(t *testing.T) {
				w.t = t
				w.Programs = func(ctx context.Context, _ step.Cmd) (step.Output, error) {
					<-ctx.Done()
					return step.Output{}, context.Cause(ctx)
				}
				o := w.operator()
				o.send(w.request(agent.ModeApply,
					item("slow", &step.Command{Argv: []string{"slow"}, Once: true}), item("next", &step.File{Path: "/next"})))
				synctest.Wait()
				leave(o)
				if err := <-o.ended; err == nil || !strings.Contains(err.Error(), name) {
					t.Errorf("error %v", err)
				}
				events := o.out.all(t)
				if diff := cmp.Diff([]string{"slow failed", "next not run"}, states(events)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				// The lock is free.
				if _, err := w.do(w.request(agent.ModeCheck)); err != nil {
					t.Errorf("the next operator: %v", err)
				}
			})
		})
	}
}

// TestSignsOfLife: an operator who sends them may wait for a slow program as long as its
// limit permits, and receives the agent's.
func TestSignsOfLife(t *testing.T) {
	w := newWorld(t, 1)
	w.bundle = agent.Bundle{}
	synctest.Test(t, func(t *testing.T) {
		w.t = t
		w.Programs = func(ctx context.Context, c step.Cmd) (step.Output, error) {
			<-ctx.Done() // reads no input, ends at its limit
			return step.Output{Stderr: []byte("still at it")}, context.Cause(ctx)
		}
		o := w.operator()
		end := o.out.until(agent.EventEnd)
		o.send(w.request(agent.ModeApply, item("slow", &step.Command{Argv: []string{"slow"}, Once: true})))
		start := time.Now()
		for waiting := true; waiting; {
			select {
			case <-end:
				waiting = false
			case <-time.After(agent.Beat):
				if _, err := io.WriteString(o.in, "\n"); err != nil {
					t.Fatal(err)
				}
			}
		}
		if took := time.Since(start); took != step.DefaultTimeout {
			t.Errorf("ended after %s, want %s", took, step.DefaultTimeout)
		}
		events, err := o.answer()
		if err == nil || !strings.Contains(err.Error(), `"slow": not finished after 5m0s, its output ends: still at it`) {
			t.Errorf("error %v", err)
		}
		alive := 0
		for _, e := range events {
			if e.Type == agent.EventAlive {
				alive++
			}
		}
		if want := int(step.DefaultTimeout / agent.Beat); alive < want-1 || alive > want {
			t.Errorf("%d signs of life, want %d", alive, want)
		}
		_ = o.leave()
	})
}

// transaction is a step whose program must not be interrupted.
var transaction = &step.Packages{Manager: step.ManagerApt, Names: []string{"socat"}, Source: "/src"}

// TestTransactionOutlivesTheOperator: the package manager goes on when the operator is
// gone, the journal has what it did, and nothing else is started.
func TestTransactionOutlivesTheOperator(t *testing.T) {
	for name, release := range map[string]bool{"it ends": true, "it hangs": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.bundle = agent.Bundle{}
			synctest.Test(t, func(t *testing.T) {
				w.t = t
				installed, finish := false, make(chan struct{})
				w.Programs = func(ctx context.Context, c step.Cmd) (step.Output, error) {
					switch line := strings.Join(c.Argv, " "); {
					case c.Argv[0] == "dpkg-query" && !installed:
						return steptest.Exit(c.Argv, 1, "no packages found")
					case c.Argv[0] == "dpkg-query":
						return steptest.Say("ii ")
					case !strings.Contains(line, " install ") || strings.Contains(line, "--download-only"):
						return steptest.Say("")
					}
					select {
					case <-finish:
					case <-ctx.Done():
						return step.Output{}, context.Cause(ctx)
					}
					installed = true
					return steptest.Say("")
				}
				o := w.operator()
				o.send(w.request(agent.ModeApply, item("pkgs", transaction), item("next", &step.File{Path: "/next"})))
				synctest.Wait()
				start := time.Now()
				_ = o.in.Close()
				time.Sleep(time.Minute)
				if release {
					close(finish)
				}
				err := <-o.ended
				if err == nil || !strings.Contains(err.Error(), "operator went away") {
					t.Errorf("error %v", err)
				}
				if !strings.Contains(o.out.text(), `waiting for \"apt-get\" to finish, at most 10m0s`) {
					t.Errorf("no message: %s", o.out.text())
				}
				want := []string{"pkgs changed", "next failed"}
				if !release {
					want = []string{"pkgs failed", "next not run"}
				}
				if diff := cmp.Diff(want, states(o.out.all(t))); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if took := time.Since(start); release && took > 2*time.Minute || !release && took != 10*time.Minute {
					t.Errorf("took %s", took)
				}
				if done := strings.Contains(w.Read(t, "var/lib/offk8s/journal.jsonl"), `"op":"done"`); done != release {
					t.Errorf("done in the journal: %t", done)
				}
			})
		})
	}
}

// TestNextOperatorWaits: after a lost connection, a new run waits until the agent of the
// old one has stopped, instead of being refused.
func TestNextOperatorWaits(t *testing.T) {
	w := newWorld(t, 1)
	w.bundle = agent.Bundle{}
	synctest.Test(t, func(t *testing.T) {
		w.t = t
		finish := make(chan struct{})
		w.Programs = func(context.Context, step.Cmd) (step.Output, error) {
			<-finish
			return steptest.Say("")
		}
		o := w.operator()
		o.send(w.request(agent.ModeApply, item("slow", &step.Command{Argv: []string{"slow"}, Once: true})))
		synctest.Wait()
		if _, err := w.do(w.request(agent.ModeCheck)); !errors.Is(err, agent.ErrLocked) {
			t.Errorf("beside the first operator: error %v, want ErrLocked", err)
		}
		_ = o.in.Close()
		synctest.Wait()
		next := w.operator()
		end := next.out.until(agent.EventEnd)
		next.send(w.request(agent.ModeApply, item("a", &step.File{Path: "/a"})))
		time.Sleep(agent.Silence / 2)
		select {
		case <-end:
			t.Error("does not wait")
		default:
		}
		close(finish)
		<-end
		if events, err := next.answer(); err != nil || !cmp.Equal(states(events), []string{"a changed"}) {
			t.Errorf("%q, error %v", states(events), err)
		}
		if text := next.out.text(); strings.Count(text, "waiting for the agent of an earlier run") != 1 {
			t.Errorf("events: %s", text)
		}
		<-o.ended
		// The lock is one as usual again.
		if _, err := w.do(w.request(agent.ModeCheck)); !errors.Is(err, agent.ErrLocked) || strings.Contains(err.Error(), "stopping") {
			t.Errorf("beside the next operator: error %v, want ErrLocked", err)
		}
		_ = next.leave()
	})
}

// The sockets of one request are open until the next one for sockets, or until the operator
// goes.
func TestListen(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	asked := []probe.Probe{{Kind: probe.Listen, Protocol: "tcp", Address: netip.MustParseAddr("127.0.0.1"), Port: port}}
	open := func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
	o := newWorld(t, 1).operator()
	listen := func(probes []probe.Probe) {
		events, err := o.ask(agent.Request{Protocol: agent.Protocol, Mode: agent.ModeListen, Probes: probes})
		if err != nil {
			t.Fatalf("events %+v, error %v", events, err)
		}
	}
	for _, want := range [][]probe.Probe{asked, nil, asked} {
		if listen(want); open() != (len(want) > 0) {
			t.Errorf("asked for %d sockets, open %t", len(want), len(want) == 0)
		}
	}
	_ = o.in.Close()
	<-o.ended
	if open() {
		t.Error("open when the operator is gone")
	}
}
