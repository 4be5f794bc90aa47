package agent_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/step"
)

// holdVariable names a file; the process locks it as an agent does.
const holdVariable = "OFFK8S_TEST_HOLD"

func TestMain(m *testing.M) {
	if path := os.Getenv(holdVariable); path != "" {
		holdLock(path)
		return
	}
	os.Exit(m.Run())
}

// holdLock holds the lock until SIGTERM, and then as long as a transaction takes.
func holdLock(path string) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	if _, err := durable.LockAs(path, fmt.Sprintf("alice@laptop since 2026-11-26T06:00:00Z, process %d on cp-1", os.Getpid())); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("locked")
	<-term
	_ = os.WriteFile(path+".finished", nil, 0o600)
}

// locked starts a process with that command line that holds the lock of the host.
func (w *world) locked(argv ...string) *exec.Cmd {
	w.t.Helper()
	lock := filepath.Join(w.Root, lockPath)
	if err := os.MkdirAll(filepath.Dir(lock), 0o700); err != nil {
		w.t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: argv, Env: []string{holdVariable + "=" + lock}}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		w.t.Fatalf("the process says %q", line)
	}
	return cmd
}

func lockRequest(operator string) agent.Request {
	return agent.Request{
		Protocol: agent.Protocol, Mode: agent.ModeLock, Cluster: "lab", Host: "cp-1",
		Operator: operator, Started: time.Date(2026, 11, 26, 6, 0, 0, 0, time.UTC),
	}
}

// The host is locked from the first request to the end of the session, and the error of
// another session names the operator.
func TestT63LockNamesTheOperator(t *testing.T) {
	w := newWorld(t, 1)
	first, second := w.operator(), w.operator()
	if _, err := first.ask(lockRequest("alice@laptop")); err != nil {
		t.Fatal(err)
	}
	if _, err := first.ask(lockRequest("alice@laptop")); err != nil {
		t.Errorf("again: %v", err)
	}
	for _, req := range []agent.Request{lockRequest("bob@bastion"), w.request(agent.ModeApply, item("a", &step.File{Path: "/a"}))} {
		_, err := second.ask(req)
		if !errors.Is(err, agent.ErrLocked) || !strings.Contains(err.Error(), "alice@laptop since 2026-11-26T06:00:00Z") {
			t.Errorf("%s: %v, want ErrLocked by alice", req.Mode, err)
		}
	}
	// The holder is this process, which is no agent: it cannot be taken over from.
	force := lockRequest("bob@bastion")
	force.TakeOver = true
	if _, err := second.ask(force); !errors.Is(err, agent.ErrLocked) || !strings.Contains(err.Error(), "not an agent") {
		t.Errorf("take over from something else: %v", err)
	}
	_ = first.leave()
	if _, err := second.ask(lockRequest("bob@bastion")); err != nil {
		t.Errorf("after the first session: %v", err)
	}
}

// Taking over ends the agent that holds the lock, which first finishes its transaction.
func TestTakeOver(t *testing.T) {
	w := newWorld(t, 1)
	holder := w.locked("/usr/local/lib/offk8s/offk8s", "agent")
	o := w.operator()
	_, err := o.ask(lockRequest("bob@bastion"))
	if want := fmt.Sprintf("alice@laptop since 2026-11-26T06:00:00Z, process %d on cp-1", holder.Process.Pid); !errors.Is(err, agent.ErrLocked) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want ErrLocked by %s", err, want)
	}
	req := lockRequest("bob@bastion")
	req.TakeOver = true
	events, err := o.ask(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(w.Root, agent.StateDir, "lock.finished")); err != nil {
		t.Errorf("the agent did not end in order: %v", err)
	}
	if len(events) != 2 || !strings.Contains(events[0].Text, "alice@laptop") {
		t.Errorf("events %v", events)
	}
	if b, err := os.ReadFile(filepath.Join(w.Root, lockPath)); !strings.HasPrefix(string(b), "bob@bastion since ") {
		t.Errorf("the lock is %q, %v", b, err)
	}
}

func TestTakeOverOnlyFromAgents(t *testing.T) {
	for _, argv := range [][]string{{"sshd"}, {"offk8s", "serve"}, {"/usr/bin/vim", "agent"}} {
		w := newWorld(t, 1)
		holder := w.locked(argv...)
		req := lockRequest("bob@bastion")
		req.TakeOver = true
		if _, err := w.operator().ask(req); !errors.Is(err, agent.ErrLocked) || !strings.Contains(err.Error(), "not an agent") {
			t.Errorf("%q: %v", argv, err)
		}
		if err := holder.Process.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("%q: ended: %v", argv, err)
		}
	}
}
