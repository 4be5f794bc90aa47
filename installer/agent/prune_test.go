package agent_test

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/kube/kubetest"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// machine stands in for the programs of a host.
type machine struct {
	w         *world
	ufw       map[string]bool
	units     map[string]bool // running
	verbs     []string        // of systemctl and undo commands
	installed map[string]bool
	objects   []map[string]any // of the API, as applied last
}

// api starts an API server with the objects.
func (m *machine) api() {
	s := kubetest.Serve(m.w.t, func(kind, _, name string) []any {
		var found []any
		for _, o := range m.objects {
			if strings.EqualFold(o["kind"].(string), kind) && o["metadata"].(map[string]any)["name"] == name {
				found = append(found, o)
			}
		}
		return found
	})
	m.w.Write(m.w.t, kube.AdminConf, s.Kubeconfig, 0o600)
}

func newMachine(w *world) *machine {
	m := &machine{w: w, ufw: map[string]bool{}, units: map[string]bool{}, installed: map[string]bool{}}
	w.Programs = m.run
	return m
}

func (m *machine) run(_ context.Context, c step.Cmd) (step.Output, error) {
	args, last := c.Argv[1:], c.Argv[len(c.Argv)-1]
	switch c.Argv[0] {
	case "ufw":
		return m.runUFW(args)
	case kube.Kubectl:
		var list struct {
			Items []map[string]any `json:"items"`
		}
		if err := json.Unmarshal(c.Stdin, &list); err != nil {
			return step.Output{}, err
		}
		m.objects = list.Items
	case "dpkg-query":
		if m.installed[last] {
			return steptest.Say("ii ")
		}
		return steptest.Exit(c.Argv, 1, "no packages found")
	case "apt-get":
		m.installed[last] = true
	case "undo":
		m.verbs = append(m.verbs, strings.Join(c.Argv, " "))
	case "systemctl":
		return m.systemctl(args, last)
	case "firewall-cmd":
		return step.Output{}, &step.NotFoundError{Name: c.Argv[0]}
	}
	return steptest.Say("")
}

func (m *machine) runUFW(args []string) (step.Output, error) {
	switch rule := strings.Join(args, " "); {
	case rule == "status":
		return steptest.Say("Status: active\n")
	case rule == "show added":
		out := ""
		for r := range m.ufw {
			out += "ufw " + r + "\n"
		}
		return steptest.Say(out)
	case strings.HasPrefix(rule, "delete "):
		delete(m.ufw, strings.TrimPrefix(rule, "delete "))
	default:
		m.ufw[rule] = true
	}
	return steptest.Say("")
}

func (m *machine) systemctl(args []string, unit string) (step.Output, error) {
	if args[0] != "show" {
		m.verbs = append(m.verbs, args[0]+" "+unit)
		m.units[unit] = args[0] == "start" || args[0] == "restart" || m.units[unit] && args[0] != "stop"
		return steptest.Say("")
	}
	load, active := "not-found", "inactive"
	if _, ok := m.w.Tree(m.w.t)["etc/systemd/system/"+unit]; ok {
		load = "loaded"
	}
	if m.units[unit] {
		active = "active"
	}
	return steptest.Say("LoadState=" + load + "\nActiveState=" + active + "\nSubState=x\nUnitFileState=disabled\nNeedDaemonReload=no\n")
}

// apply applies the items.
func (w *world) apply(items ...step.Item) {
	w.t.Helper()
	if _, err := w.do(w.request(agent.ModeApply, items...)); err != nil {
		w.t.Fatal(err)
	}
}

// check returns the state that ModeCheck reports for an item.
func (w *world) check(it step.Item) step.State {
	w.t.Helper()
	events, err := w.do(w.request(agent.ModeCheck, it))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range events {
		if e.Type == agent.EventStep {
			return e.State
		}
	}
	return ""
}

// prune keeps the items and returns what happened to the others.
func (w *world) prune(mode agent.Mode, items ...step.Item) []string {
	w.t.Helper()
	req := w.request(mode)
	req.Keep = []string{}
	for _, it := range items {
		req.Keep = append(req.Keep, it.ID)
	}
	events, err := w.do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	return states(events)
}

// Each case was applied with the first items, then with the second. What is wanted stays
// as it is, what is not goes, a reset restores everything, and a dry run changes nothing.
func TestPrune(t *testing.T) {
	file := func(path, content string) *step.File { return &step.File{Path: path, Content: content} }
	open := func(ports, sources string) *step.Firewall {
		return &step.Firewall{Ports: strings.Fields(ports), Sources: strings.Fields(sources)}
	}
	etcd := &step.Unit{Name: "etcd.service", Content: "[Service]\n", Running: true}
	tests := []struct {
		name          string
		first, second []step.Item
		want          []string // events
		gone, stays   []string // paths
		check         func(t *testing.T, m *machine)
	}{
		{
			name:   "newest first",
			first:  []step.Item{item("a", file("/etc/a", "x")), item("b", file("/etc/x/b", "x")), item("c", file("/etc/c", "x"))},
			second: []step.Item{item("b", file("/etc/x/b", "x"))},
			want:   []string{"c changed", "a changed"}, gone: []string{"etc/a", "etc/c"}, stays: []string{"etc/x/b"},
		},
		{
			name:   "a file under another ID",
			first:  []step.Item{item("a", file("/etc/dir/a", "x"))},
			second: []step.Item{item("b", file("/etc/dir/a", "x"))},
			stays:  []string{"etc/dir/a"},
		},
		{
			name:   "another content under another ID",
			first:  []step.Item{item("a", file("/etc/foreign", "x"))},
			second: []step.Item{item("b", file("/etc/foreign", "y"))},
			stays:  []string{"etc/foreign"},
		},
		{
			name:   "another path under the same ID",
			first:  []step.Item{item("a", file("/etc/a", "x"))},
			second: []step.Item{item("a", file("/etc/b", "x"))},
			want:   []string{"a changed"}, gone: []string{"etc/a"}, stays: []string{"etc/b"},
		},
		{
			name:   "a directory with wanted files",
			first:  []step.Item{item("dir", &step.Directory{Path: "/etc/x", Mode: 0o700, Purge: true}), item("a", file("/etc/x/a", "x"))},
			second: []step.Item{item("a", file("/etc/x/a", "x"))},
			stays:  []string{"etc/x", "etc/x/a"},
		},
		{
			name:   "a directory under another ID",
			first:  []step.Item{item("folder", &step.Directory{Path: "/var/lib/etcd", Mode: 0o700, Purge: true})},
			second: []step.Item{item("directory", &step.Directory{Path: "/var/lib/etcd", Mode: 0o700, Purge: true})},
			stays:  []string{"var/lib/etcd", "var/lib/etcd/data"},
		},
		{
			name:  "a directory without wanted files",
			first: []step.Item{item("dir", &step.Directory{Path: "/var/lib/etcd", Mode: 0o700, Purge: true})},
			want:  []string{"dir changed"}, gone: []string{"var/lib/etcd"},
		},
		{
			name:   "a directory that a file had to make",
			first:  []step.Item{item("a", file("/etc/x/a", "x")), item("dir", &step.Directory{Path: "/etc/x", Mode: 0o700})},
			second: []step.Item{item("dir", &step.Directory{Path: "/etc/x", Mode: 0o700})},
			want:   []string{"a changed"}, gone: []string{"etc/x/a"}, stays: []string{"etc/x"},
		},
		{
			name:  "a unit",
			first: []step.Item{item("unit", etcd)},
			want:  []string{"unit changed"}, gone: []string{"etc/systemd/system/etcd.service"},
			check: func(t *testing.T, m *machine) {
				if m.units["etcd.service"] {
					t.Error("it still runs")
				}
			},
		},
		{
			name:   "a unit under another ID",
			first:  []step.Item{item("unit", etcd)},
			second: []step.Item{item("service", etcd)},
			stays:  []string{"etc/systemd/system/etcd.service"},
			check: func(t *testing.T, m *machine) {
				if n := len(slices.DeleteFunc(m.verbs, func(v string) bool { return v == "daemon-reload daemon-reload" })); n != 1 {
					t.Errorf("systemctl: %q, want one start", m.verbs)
				}
			},
		},
		{
			name:   "lines of two blocks in a file",
			first:  []step.Item{item("a", &step.Block{Path: "/etc/hosts", Lines: []string{"1 a"}}), item("b", &step.Block{Path: "/etc/hosts", Marker: "other", Lines: []string{"2 b"}})},
			second: []step.Item{item("b", &step.Block{Path: "/etc/hosts", Marker: "other", Lines: []string{"2 b"}})},
			want:   []string{"a changed"}, stays: []string{"etc/hosts"},
			check: func(t *testing.T, m *machine) {
				if got := m.w.Read(t, "etc/hosts"); strings.Contains(got, "1 a") || !strings.Contains(got, "2 b") {
					t.Errorf("/etc/hosts:\n%s", got)
				}
			},
		},
		{
			name:   "a setting that another step wants",
			first:  []step.Item{item("a", &step.Sysctl{File: "/etc/sysctl.d/a", Values: map[string]string{"net.x": "1", "net.y": "1"}})},
			second: []step.Item{item("b", &step.Sysctl{File: "/etc/sysctl.d/b", Values: map[string]string{"net.x": "1"}})},
			want:   []string{"a changed"}, gone: []string{"etc/sysctl.d/a"}, stays: []string{"etc/sysctl.d/b"},
			check: func(t *testing.T, m *machine) {
				if x, y := m.w.Read(t, "proc/sys/net/x"), m.w.Read(t, "proc/sys/net/y"); x != "1\n" || y != "0\n" {
					t.Errorf("net.x = %q, want 1; net.y = %q, want 0", x, y)
				}
			},
		},
		{
			name:  "an open port",
			first: []step.Item{item("fw", open("6443/tcp", ""))},
			want:  []string{"fw changed"},
			check: func(t *testing.T, m *machine) {
				if diff := cmp.Diff(map[string]bool{"allow 22/tcp": true}, m.ufw); diff != "" {
					t.Errorf("rules (-want +got):\n%s", diff)
				}
			},
		},
		{
			name:   "an open port that another step wants",
			first:  []step.Item{item("fw", open("6443/tcp 80/tcp", ""))},
			second: []step.Item{item("firewall", open("6443/tcp", ""))},
			want:   []string{"fw changed"},
			check: func(t *testing.T, m *machine) {
				if diff := cmp.Diff(map[string]bool{"allow 22/tcp": true, "allow 6443/tcp": true}, m.ufw); diff != "" {
					t.Errorf("rules (-want +got):\n%s", diff)
				}
			},
		},
		{
			name:  "packages stay",
			first: []step.Item{item("p", &step.Packages{Manager: "apt", Names: []string{"socat"}, Source: "/etc/offk8s/r"})},
			check: func(t *testing.T, m *machine) {
				if !m.installed["socat"] {
					t.Error("socat was removed")
				}
			},
		},
		{
			name:   "the host's name",
			first:  []step.Item{item("hostname", &step.Hostname{Name: "one"})},
			second: []step.Item{item("hostname", &step.Hostname{Name: "two"})},
			check: func(t *testing.T, m *machine) {
				if got := m.w.Read(t, "etc/hostname"); got != "two\n" {
					t.Errorf("name %q", got)
				}
			},
		},
		{
			name:   "a command of another ID that undoes the same",
			first:  []step.Item{item("a", &step.Command{Argv: []string{"do"}, Once: true, UndoArgv: []string{"undo", "it"}})},
			second: []step.Item{item("b", &step.Command{Argv: []string{"do"}, Once: true, UndoArgv: []string{"undo", "it"}})},
			check: func(t *testing.T, m *machine) {
				if len(m.verbs) > 0 {
					t.Errorf("ran %q", m.verbs)
				}
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 1)
			m := newMachine(w)
			m.ufw["allow 22/tcp"] = true
			for path, content := range map[string]string{
				"etc/foreign": "foreign", "etc/hosts": "127.0.0.1 localhost\n", "etc/hostname": "before\n", "etc/systemd/system/other.service": "",
				"proc/sys/kernel/hostname": "before", "proc/sys/net/x": "0\n", "proc/sys/net/y": "0\n", "var/lib/x": "", "etc/sysctl.d/x": "",
			} {
				w.Write(t, path, content, 0o644)
			}
			before, rules := w.Tree(t), maps.Clone(m.ufw)
			w.apply(tt.first...)
			if _, ok := w.Tree(t)["var/lib/etcd"]; ok {
				w.Write(t, "var/lib/etcd/data", "of a daemon", 0o600)
			}
			w.apply(tt.second...)
			dry, tree := w.prune(agent.ModeCheck, tt.second...), w.Tree(t)
			got := w.prune(agent.ModeApply, tt.second...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			for i := range dry {
				dry[i] = strings.Replace(dry[i], string(step.Differs), string(step.Changed), 1)
			}
			if diff := cmp.Diff(tt.want, dry); diff != "" {
				t.Errorf("dry run (-want +got):\n%s", diff)
			}
			if len(tt.want) == 0 {
				// Only the journal differs.
				after := w.Tree(t)
				delete(tree, journalPath)
				delete(after, journalPath)
				if diff := cmp.Diff(tree, after); diff != "" {
					t.Errorf("nothing was reported, but:\n%s", diff)
				}
			}
			after := w.Tree(t)
			for _, p := range tt.gone {
				if _, ok := after[p]; ok {
					t.Errorf("%s is still there", p)
				}
			}
			for _, p := range tt.stays {
				if _, ok := after[p]; !ok {
					t.Errorf("%s is gone", p)
				}
			}
			if tt.check != nil {
				tt.check(t, m)
			}
			// The next run has nothing to do.
			journal := w.Read(t, journalPath)
			events, err := w.do(w.request(agent.ModeApply, tt.second...))
			if err != nil || slices.ContainsFunc(states(events), func(s string) bool { return strings.HasSuffix(s, "changed") }) {
				t.Errorf("the next run: %q, error %v", states(events), err)
			}
			if again := w.prune(agent.ModeApply, tt.second...); len(again) > 0 || w.Read(t, journalPath) != journal {
				t.Errorf("the next run prunes again: %q\n%s", again, strings.TrimPrefix(w.Read(t, journalPath), journal))
			}
			if _, err := w.do(w.request(agent.ModeUndo)); err != nil {
				t.Fatalf("reset: %v", err)
			}
			restored := w.Tree(t)
			for _, p := range []string{"var/cache", "var/cache/offk8s", "etc/offk8s", "etc/offk8s/r"} {
				delete(restored, p)
			}
			if diff := cmp.Diff(before, restored); diff != "" {
				t.Errorf("reset (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(rules, m.ufw); diff != "" {
				t.Errorf("firewall after reset (-before +after):\n%s", diff)
			}
		})
	}
}

// A step that cannot be undone stays for the next run, and the others are undone.
func TestPruneGoesOn(t *testing.T) {
	w := newWorld(t, 1)
	broken := true
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		if c.Argv[0] == "undo" && broken {
			return steptest.Exit(c.Argv, 1, "busy")
		}
		return steptest.Say("")
	}
	w.apply(item("a", &step.File{Path: "/etc/a"}),
		item("b", &step.Command{Argv: []string{"do"}, Once: true, UndoArgv: []string{"undo"}}),
		item("c", &step.File{Path: "/etc/c"}))
	req := w.request(agent.ModeApply)
	req.Keep = []string{}
	events, err := w.do(req)
	if err == nil || events[len(events)-1].Code != "step" {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"c changed", "b failed", "a changed"}, states(events)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	broken = false
	if diff := cmp.Diff([]string{"b changed"}, w.prune(agent.ModeApply)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A plan that changed twice, and whose second change was not pruned: what is planned
// now stays.
func TestPruneAfterThereAndBack(t *testing.T) {
	w := newWorld(t, 1)
	a, b := item("x", &step.File{Path: "/etc/a"}), item("x", &step.File{Path: "/etc/b"})
	w.apply(a)
	w.apply(b)
	if got := w.check(a); got != step.Differs {
		t.Errorf("the file of an earlier plan is wanted again, and a check says %s", got)
	}
	w.apply(a)
	if got := w.check(a); got != step.OK {
		t.Errorf("after that a check says %s", got)
	}
	if diff := cmp.Diff([]string{"x changed"}, w.prune(agent.ModeApply, a)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	tree := w.Tree(t)
	if _, ok := tree["etc/a"]; !ok {
		t.Error("the planned file is gone")
	}
	if _, ok := tree["etc/b"]; ok {
		t.Error("the other file is still there")
	}
}

// A change of what is wanted is a new generation, in which the items are.
func TestGenerationOfItems(t *testing.T) {
	w := newWorld(t, 1)
	run := func(n int, items ...step.Item) {
		t.Helper()
		for _, it := range items { // a request per stage
			req := w.request(agent.ModeApply, it)
			req.Started = time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC)
			if _, err := w.do(req); err != nil {
				t.Fatal(err)
			}
		}
	}
	conf := func(content string) step.Item { return item("a", &step.File{Path: "/etc/a", Content: content}) }
	other := item("b", &step.File{Path: "/etc/b"})
	run(1, conf("1"), other)
	run(2, conf("1"), other)
	run(3, conf("3"), other)
	run(4, conf("3"), other)
	w.Write(t, "etc/a", "drift", 0o644)
	run(5, conf("3"), other)
	var got []int
	for _, o := range w.owners() {
		got = append(got, o.Generation, o.Time.Day())
	}
	if diff := cmp.Diff([]int{1, 1, 2, 3}, got); diff != "" {
		t.Errorf("generations and days (-want +got):\n%s", diff)
	}
}

// Things that leave a step leave the host too, if offk8s had brought them.
func TestSmallerStep(t *testing.T) {
	w := newWorld(t, 1)
	m := newMachine(w)
	m.ufw["allow 22/tcp"] = true
	for path, content := range map[string]string{
		"proc/sys/net/x": "0\n", "proc/sys/net/y": "0\n", "proc/sys/net/ours": "1\n", "etc/hosts": "127.0.0.1 localhost\n",
		"var/lib/x": "", "etc/sysctl.d/x": "",
	} {
		w.Write(t, path, content, 0o644)
	}
	before, rules := w.Tree(t), maps.Clone(m.ufw)
	fw := func(id, ports, sources string) step.Item {
		return item(id, &step.Firewall{Ports: strings.Fields(ports), Sources: strings.Fields(sources)})
	}
	values := func(v map[string]string) step.Item { return item("sysctl", &step.Sysctl{Values: v}) }
	lines := func(l ...string) step.Item { return item("lines", &step.Block{Path: "/etc/hosts", Lines: l}) }
	w.apply(
		fw("more", "443/tcp", ""), fw("open", "22/tcp 6443/tcp 80/tcp", ""), fw("hosts", "2379/tcp", "10.0.0.1 10.0.0.2"),
		values(map[string]string{"net.x": "1", "net.y": "1", "net.ours": "1"}), lines("10.0.0.1 a", "10.0.0.2 b"))
	// A host less; one port moves to another step, one is no longer wanted.
	smaller := []step.Item{
		fw("more", "443/tcp 80/tcp", ""), fw("open", "6443/tcp", ""), fw("hosts", "2379/tcp", "10.0.0.1"),
		values(map[string]string{"net.x": "2"}), lines("10.0.0.1 a"),
	}
	w.apply(smaller...)
	wantRules := map[string]bool{
		"allow 22/tcp": true, "allow 6443/tcp": true, "allow 80/tcp": true, "allow 443/tcp": true,
		"allow from 10.0.0.1 to any port 2379 proto tcp": true,
	}
	if diff := cmp.Diff(wantRules, m.ufw); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	got := w.Read(t, "proc/sys/net/x") + w.Read(t, "proc/sys/net/y") + w.Read(t, "proc/sys/net/ours")
	if got != "2\n0\n1\n" {
		t.Errorf("settings %q, want 2, 0 as before offk8s, and 1, which was so before", got)
	}
	if got := w.Read(t, "etc/hosts"); strings.Contains(got, "10.0.0.2") {
		t.Errorf("/etc/hosts:\n%s", got)
	}
	// The administrator opens a port that offk8s had opened and closed: it is hers now.
	m.ufw["allow from 10.0.0.2 to any port 2379 proto tcp"], rules["allow from 10.0.0.2 to any port 2379 proto tcp"] = true, true
	journal := w.Read(t, journalPath)
	w.apply(smaller...)
	if w.Read(t, journalPath) != journal {
		t.Errorf("the next run wrote:\n%s", strings.TrimPrefix(w.Read(t, journalPath), journal))
	}
	if _, err := w.do(w.request(agent.ModeUndo)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, w.Tree(t)); diff != "" {
		t.Errorf("reset (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(rules, m.ufw); diff != "" {
		t.Errorf("firewall after reset (-before +after):\n%s", diff)
	}
}

// Steps that leave before those that replace them are applied: roles are undone first.
func TestPruneKnowsThePlan(t *testing.T) {
	w := newWorld(t, 1)
	m := newMachine(w)
	m.ufw["allow 22/tcp"] = true
	w.Write(t, "var/lib/x", "", 0o644)
	before, rules := w.Tree(t), maps.Clone(m.ufw)
	m.api()
	dir := &step.Directory{Path: "/var/lib/etcd", Mode: 0o700, Purge: true}
	objects := func() *kube.Apply {
		return &kube.Apply{Text: "x", Objects: []json.RawMessage{json.RawMessage(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n"}}`)}}
	}
	w.apply(item("folder", dir), item("old/objects", objects()), item("open", &step.Firewall{Ports: []string{"80/tcp", "443/tcp"}}))
	w.Write(t, "var/lib/etcd/data", "of a daemon", 0o600)
	plan := []step.Item{item("directory", dir), item("new/objects", objects()), item("ports", &step.Firewall{Ports: []string{"443/tcp"}})}
	w.Calls = nil
	for _, mode := range []agent.Mode{agent.ModeCheck, agent.ModeApply} {
		req := w.request(mode, plan...)
		req.Keep = []string{"directory", "new/objects", "ports"}
		events, err := w.do(req)
		want := map[agent.Mode][]string{agent.ModeCheck: {"open differs"}, agent.ModeApply: {"open changed"}}[mode]
		if diff := cmp.Diff(want, states(events)); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got):\n%s", mode, err, diff)
		}
	}
	if _, ok := w.Tree(t)["var/lib/etcd/data"]; !ok {
		t.Fatal("the data is gone")
	}
	if diff := cmp.Diff(map[string]bool{"allow 22/tcp": true, "allow 443/tcp": true}, m.ufw); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	for _, argv := range w.Calls {
		if strings.HasSuffix(argv[0], "kubectl") {
			t.Errorf("ran %q", argv)
		}
	}
	if err := os.RemoveAll(filepath.Join(w.Root, "etc")); err != nil {
		t.Fatal(err)
	}
	w.apply(plan[0], plan[2])
	if _, err := w.do(w.request(agent.ModeUndo)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, w.Tree(t)); diff != "" {
		t.Errorf("reset (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(rules, m.ufw); diff != "" {
		t.Errorf("firewall after reset (-before +after):\n%s", diff)
	}
}

// An agent that dies while it prunes: the next one finishes, and a reset restores all.
func TestPruneCutAfterEachEntry(t *testing.T) {
	first := []step.Item{
		item("foreign", &step.File{Path: "/etc/foreign", Content: "x"}), item("a", &step.File{Path: "/etc/x/a"}),
		item("fw", &step.Firewall{Ports: []string{"80/tcp", "443/tcp"}}), item("unit", &step.Unit{Name: "a.service", Content: "[Service]\n"}),
	}
	second := []step.Item{
		item("renamed", &step.File{Path: "/etc/foreign", Content: "x"}), item("b", &step.File{Path: "/etc/x/b"}),
		item("ports", &step.Firewall{Ports: []string{"443/tcp"}}),
	}
	for cut := 0; ; cut++ {
		w := newWorld(t, 1)
		m := newMachine(w)
		for path, content := range map[string]string{"etc/foreign": "foreign", "etc/systemd/system/x": "", "var/lib/x": ""} {
			w.Write(t, path, content, 0o644)
		}
		before := w.Tree(t)
		w.apply(first...)
		w.apply(second...)
		start := w.Read(t, journalPath)
		w.prune(agent.ModeApply, second...)
		want := w.Tree(t)
		lines := strings.SplitAfter(strings.TrimPrefix(w.Read(t, journalPath), start), "\n")
		if cut >= len(lines)-1 {
			if cut < 5 {
				t.Errorf("the prune wrote %d entries", cut)
			}
			return
		}
		w.Write(t, journalPath, start+strings.Join(lines[:cut], "")+lines[cut][:len(lines[cut])/2], 0o600)
		w.prune(agent.ModeApply, second...)
		got := w.Tree(t)
		delete(want, journalPath)
		delete(got, journalPath)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("cut after %d (-want +got):\n%s", cut, diff)
		}
		if left := w.prune(agent.ModeApply, second...); len(left) > 0 {
			t.Errorf("cut after %d: left %q", cut, left)
		}
		if _, err := w.do(w.request(agent.ModeUndo)); err != nil {
			t.Fatalf("cut after %d: reset: %v", cut, err)
		}
		if diff := cmp.Diff(before, w.Tree(t)); diff != "" || len(m.ufw) > 0 {
			t.Errorf("cut after %d: reset leaves rules %v (-before +after):\n%s", cut, m.ufw, diff)
		}
	}
}

// An agent that died after a change left it unfinished in the journal. The next run finds
// it as wanted and says so there.
func TestUnfinishedIsFinished(t *testing.T) {
	w := newWorld(t, 1)
	a := item("x", &step.File{Path: "/etc/a", Content: "1"})
	w.apply(a)
	var begun []string
	for line := range strings.Lines(w.Read(t, agent.StateDir+"/journal.jsonl")) {
		if !strings.Contains(line, `"op":"done"`) {
			begun = append(begun, line)
		}
	}
	w.Write(t, agent.StateDir+"/journal.jsonl", strings.Join(begun, ""), 0o600)
	if got := w.check(a); got != step.Differs {
		t.Errorf("unfinished: %s", got)
	}
	w.apply(a)
	if got := w.check(a); got != step.OK {
		t.Errorf("after that: %s", got)
	}
}
