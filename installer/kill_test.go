package installer_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
	"github.com/offk8s/offk8s/manifests"
)

// The test binary is the agent, too: a real process, which can be killed.
const agentRoot = "OFFK8S_TEST_AGENT"

func init() {
	root := os.Getenv(agentRoot)
	if root == "" {
		return
	}
	if err := agent.Serve(context.Background(), os.Stdin, os.Stdout, agent.Options{Root: root, Run: diskPrograms(root)}); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// diskPrograms is a systemctl that keeps its units in files, and a program "work".
type diskPrograms string

func (d diskPrograms) path(name string) string { return filepath.Join(string(d), "fake", name) }

func (d diskPrograms) Run(_ context.Context, c step.Cmd) (step.Output, error) {
	has := func(path string) bool { _, err := os.Lstat(path); return err == nil }
	mark := func(name string) (step.Output, error) {
		return step.Output{}, errors.Join(os.MkdirAll(d.path(""), 0o755), os.WriteFile(d.path(name), nil, 0o644))
	}
	verb, unit := "", c.Argv[len(c.Argv)-1]
	if len(c.Argv) > 1 {
		verb = c.Argv[1]
	}
	switch {
	case c.Argv[0] == "work":
		return mark("work")
	case c.Argv[0] != "systemctl":
		return step.Output{}, &step.NotFoundError{Name: c.Argv[0]}
	case verb == "show":
		load, active, sub, file := "not-found", "inactive", "dead", "disabled"
		if has(filepath.Join(string(d), "etc/systemd/system", unit)) {
			load = "loaded"
		}
		if has(d.path(unit + ".running")) {
			active, sub = "active", "running"
		}
		if has(d.path(unit + ".enabled")) {
			file = "enabled"
		}
		return steptest.Say(fmt.Sprintf("LoadState=%s\nActiveState=%s\nSubState=%s\nUnitFileState=%s\nNeedDaemonReload=no\n", load, active, sub, file))
	case verb == "enable":
		return mark(unit + ".enabled")
	case verb == "start" || verb == "restart":
		return mark(unit + ".running")
	}
	return step.Output{}, nil
}

// victim is a host in a directory whose agent, connection or machine ends after some
// events.
type victim struct {
	*labHost
	how   string
	after atomic.Int64 // events; 0: never
	dead  atomic.Bool
	stop  context.CancelFunc // ends the operator
}

// Run fails until somebody connects again, if the machine is down.
func (v *victim) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if v.dead.Load() {
		return errCut
	}
	return v.labHost.Run(ctx, argv, stdin, stdout, stderr)
}

func (v *victim) agent(ctx context.Context, _ []string, stdin io.Reader, stdout, _ io.Writer) error {
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), agentRoot+"="+v.world.Root)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(in, stdin)
		_ = in.Close()
	}()
	cut := false
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		if bytes.Contains(line, []byte(`"step"`)) && v.after.Add(-1) == 0 {
			switch v.how {
			case "agent", "host":
				_ = cmd.Process.Signal(syscall.SIGKILL)
				v.dead.Store(v.how == "host")
			case "connection":
				_, _ = in.Close(), out.Close()
			case "runner":
				v.stop()
			}
			if cut = v.how != "runner"; cut {
				break
			}
		}
		if _, err := stdout.Write(line); err != nil {
			break
		}
	}
	err = cmd.Wait()
	if cut {
		return errCut
	}
	return err
}

// killed is a cluster of hosts whose agents are processes.
func killed(t *testing.T, how string) (*lab, map[string]*victim) {
	l := newLab(t, "a", "b")
	out := map[string]*victim{}
	for name, h := range l.hosts {
		v := &victim{labHost: h, how: how}
		h.On(installer.AgentPath+" agent", v.agent)
		h.world.Write(t, "etc/hosts", "127.0.0.1 localhost\n", 0o644)
		h.world.Write(t, "etc/old", "of the administrator\n", 0o600)
		out[name] = v
	}
	return l, out
}

// killStages change a host in many ways.
func killStages() []stage.Stage {
	return []stage.Stage{
		each("one", func(h manifests.Host) []step.Item {
			return []step.Item{
				{ID: "one/dir", Step: &step.Directory{Path: "/etc/app", Mode: 0o700}},
				{ID: "one/file", Step: &step.File{Path: "/etc/app/conf", Content: "name " + h.Name + "\n"}},
				{ID: "one/secret", Step: &step.File{Path: "/etc/app/key", Secret: "pki:x.key", Mode: 0o600}},
				{ID: "one/hosts", Step: &step.Block{Path: "/etc/hosts", Lines: []string{"10.0.0.1 a", "10.0.0.2 b"}}},
				{ID: "one/link", Step: &step.Symlink{Path: "/etc/app/link", To: "/etc/app/conf"}},
			}
		}),
		each("two", func(manifests.Host) []step.Item {
			return []step.Item{
				{ID: "two/unit", Step: &step.Unit{
					Name: "app.service", Content: "[Service]\nExecStart=/bin/app\n", Enable: true, Running: true,
					Triggers: []string{"/etc/app/conf", "/etc/app/key"},
				}},
				{ID: "two/work", Step: &step.Command{Argv: []string{"work"}, Once: true}},
				{ID: "two/old", Step: &step.Absent{Path: "/etc/old"}},
			}
		}),
		files("three"),
	}
}

// journalOf returns what a host's journal says, without times.
func journalOf(t *testing.T, h *labHost) map[string]string {
	t.Helper()
	type entry struct {
		Op, Key     string
		Item, Prior json.RawMessage
		Record      struct{ Key string }
	}
	out := map[string]string{}
	for line := range strings.Lines(h.world.Read(t, "/var/lib/offk8s/journal.jsonl")) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		var r [3]string
		_ = json.Unmarshal([]byte(out[e.Key]), &r)
		switch e.Op {
		case "owner":
			continue
		case "record": // says that it is done
			e.Key = e.Record.Key
			_ = json.Unmarshal([]byte(out[e.Key]), &r)
			r[2] = "done"
		case "intent":
			r[0], r[2] = string(e.Item), "begun"
		case "done":
			r[2] = "done"
		}
		if r[1] == "" {
			r[1] = string(e.Prior)
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		out[e.Key] = string(b)
	}
	return out
}

func treeOf(t *testing.T, h *labHost) map[string]string {
	tree := h.world.Tree(t)
	for path := range tree {
		if base := filepath.Base(path); base == "journal.jsonl" || base == "lock" {
			delete(tree, path)
		}
	}
	return tree
}

// Whatever ends in the middle of an install, the operator's program, a connection, an
// agent or a host: the next run finishes, its hosts and journals are those of a run
// that nothing disturbed, and the one after it changes nothing.
func TestKilledInstalls(t *testing.T) {
	secrets := func(string) ([]byte, error) { return []byte("KEY-0123456789"), nil }
	install := func(ctx context.Context, l *lab, victims map[string]*victim) (*installer.Report, error) {
		f := l.to(func(_ context.Context, h manifests.Host) (host.Host, error) {
			victims[h.Name].dead.Store(false) // it has booted again
			return victims[h.Name], nil
		})
		defer f.Close()
		return installer.Run(ctx, l.plan(killStages()...), f, installer.RunOptions{Secrets: secrets})
	}
	clean, unharmed := killed(t, "")
	if _, err := install(t.Context(), clean, unharmed); err != nil {
		t.Fatal(err)
	}
	seeds := 50
	if testing.Short() {
		seeds = 8
	}
	cuts := 0
	for seed := range uint64(seeds) {
		r := rand.New(rand.NewPCG(seed, 8))
		how := []string{"runner", "connection", "agent", "host"}[seed%4]
		l, victims := killed(t, how)
		for range 2 {
			ctx, cancel := context.WithCancel(t.Context())
			v := victims[[]string{"a", "b"}[r.IntN(2)]]
			v.stop = cancel
			v.after.Store(int64(1 + r.IntN(10)))
			if _, err := install(ctx, l, victims); err != nil {
				cuts++
			}
			cancel()
			v.after.Store(0)
		}
		if _, err := install(t.Context(), l, victims); err != nil {
			t.Fatalf("seed %d, %s: the next run: %v", seed, how, err)
		}
		for name, h := range l.hosts {
			if diff := cmp.Diff(treeOf(t, clean.hosts[name]), treeOf(t, h)); diff != "" {
				t.Errorf("seed %d, %s: %s (-clean +killed):\n%s", seed, how, name, diff)
			}
			if diff := cmp.Diff(journalOf(t, clean.hosts[name]), journalOf(t, h)); diff != "" {
				t.Errorf("seed %d, %s: journal of %s (-clean +killed):\n%s", seed, how, name, diff)
			}
		}
		if rep, err := install(t.Context(), l, victims); err != nil || rep.Changed() != 0 {
			t.Errorf("seed %d, %s: the run after it changed %d, error %v", seed, how, rep.Changed(), err)
		}
	}
	if cuts < seeds {
		t.Errorf("only %d of %d runs were cut", cuts, 2*seeds)
	}
}

// to connects to the hosts by dial.
func (l *lab) to(dial func(context.Context, manifests.Host) (host.Host, error)) *installer.Fleet {
	l.t.Helper()
	f, err := installer.Connect(l.t.Context(), l.cluster, installer.ConnectOptions{Dial: dial, Binary: l.binary()})
	if err != nil {
		l.t.Fatal(err)
	}
	return f
}
