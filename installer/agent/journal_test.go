package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

const (
	journalPath = "var/lib/offk8s/journal.jsonl"
	lockPath    = "var/lib/offk8s/lock"
)

func TestT64DiedBetweenIntentAndDone(t *testing.T) {
	w := newWorld(t, 1)
	w.Write(t, "etc/conf", "foreign", 0o644)
	conf := item("conf", &step.File{Path: "/etc/conf", Content: "ours"})
	if _, err := w.do(w.request(agent.ModeApply, conf)); err != nil {
		t.Fatal(err)
	}
	// Cut the journal after each entry and inside each, as a power loss would.
	whole := w.Read(t, journalPath)
	lines := strings.SplitAfter(strings.TrimSuffix(whole, "\n"), "\n")
	for n := range len(lines) + 1 {
		for _, torn := range []bool{false, true} {
			text := strings.Join(lines[:n], "")
			if torn && n < len(lines) {
				text += lines[n][:len(lines[n])/2]
			}
			intent := strings.Contains(strings.Join(lines[:n], ""), `"op":"intent"`)
			w.Write(t, journalPath, text, 0o600)
			content := "foreign"
			if intent {
				content = "ours" // the rename had happened
			}
			w.Write(t, "etc/conf", content, 0o644)
			if _, err := w.do(w.request(agent.ModeApply, conf)); err != nil {
				t.Fatalf("cut after %d, torn %t: apply: %v", n, torn, err)
			}
			if got := w.Read(t, "etc/conf"); got != "ours" {
				t.Errorf("cut after %d, torn %t: %q after apply", n, torn, got)
			}
			if _, err := w.do(w.request(agent.ModeUndo)); err != nil {
				t.Fatalf("cut after %d, torn %t: undo: %v", n, torn, err)
			}
			if got := w.Read(t, "etc/conf"); got != "foreign" {
				t.Errorf("cut after %d, torn %t: %q after undo", n, torn, got)
			}
			if err := os.MkdirAll(filepath.Join(w.Root, "var/lib/offk8s"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A file that is too big for the journal has a copy before it is replaced, and is
// restored once.
func TestT64DiedBesideABackup(t *testing.T) {
	w := newWorld(t, 1)
	foreign := strings.Repeat("foreign", 100_000)
	w.Write(t, "etc/conf", foreign, 0o644)
	w.Write(t, "var/lib/x", "", 0o644)
	before := w.Tree(t)
	conf := item("conf", &step.File{Path: "/etc/conf", Content: "ours"})
	w.apply(conf)
	// The agent dies right after it has written that it is about to change the file.
	whole := w.Read(t, journalPath)
	w.Write(t, journalPath, whole[:strings.Index(whole, `{"op":"done"`)], 0o600)
	w.Write(t, "etc/conf", foreign, 0o644)
	if err := os.RemoveAll(filepath.Join(w.Root, step.BackupDir)); err != nil {
		t.Fatal(err)
	}
	w.apply(conf)
	whole = w.Read(t, journalPath)
	w.prune(agent.ModeApply)
	if w.Read(t, "etc/conf") != foreign {
		t.Error("the foreign file is lost")
	}
	// It dies before it has written that the file is restored.
	w.Write(t, journalPath, whole, 0o600)
	if _, err := w.do(w.request(agent.ModeUndo)); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, w.Tree(t)); diff != "" {
		t.Errorf("(-before +after):\n%.300s", diff)
	}
}

func TestUndoIsInReverseAndGoesOn(t *testing.T) {
	w := newWorld(t, 1)
	broken := true
	var undone []string
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		if c.Argv[0] == "undo" {
			if c.Argv[1] == "b" && broken {
				return steptest.Exit(c.Argv, 1, "busy")
			}
			undone = append(undone, c.Argv[1])
		}
		return steptest.Say("")
	}
	var items []step.Item
	for _, id := range []string{"a", "b", "c"} {
		items = append(items, item(id, &step.Command{Argv: []string{"do", id}, Once: true, UndoArgv: []string{"undo", id}}))
	}
	if _, err := w.do(w.request(agent.ModeApply, items...)); err != nil {
		t.Fatal(err)
	}
	events, err := w.do(w.request(agent.ModeUndo))
	if !errors.Is(err, agent.ErrStep) || !strings.Contains(err.Error(), "1 of 3") {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"c changed", "b failed", "a changed"}, states(events)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	broken = false
	if _, err := w.do(w.request(agent.ModeUndo)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"c", "a", "b"}, undone); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(w.Root, "var/lib/offk8s")); !os.IsNotExist(err) {
		t.Errorf("state directory: %v, want it gone", err)
	}
}

func TestUndoReportsPackagesThatStay(t *testing.T) {
	w := newWorld(t, 1)
	installed := map[string]bool{}
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		last := c.Argv[len(c.Argv)-1]
		switch {
		case c.Argv[0] == "rpm" && !installed[last]:
			return steptest.Exit(c.Argv, 1, "not installed")
		case c.Argv[0] == "dnf":
			installed[last] = true
		case c.Argv[0] == "dpkg-query" && !installed[last]:
			return steptest.Say("un ")
		case c.Argv[0] == "dpkg-query":
			return steptest.Say("ii ")
		case c.Argv[0] == "apt-get":
			installed[last] = !slices.Contains(c.Argv, "--download-only")
			return steptest.Say("The following packages will be REMOVED:\n  systemd-timesyncd\nThe following NEW\n")
		}
		return steptest.Say("")
	}
	for _, names := range [][]string{{"chrony"}, {"chrony", "socat"}} {
		p := &step.Packages{Manager: "dnf", Names: names, Source: "/etc/offk8s/r"}
		if _, err := w.do(w.request(agent.ModeApply, item("packages", p))); err != nil {
			t.Fatal(err)
		}
	}
	p := &step.Packages{Manager: "apt", Names: []string{"ipset"}, Source: "/etc/offk8s/r"}
	if _, err := w.do(w.request(agent.ModeApply, item("more-packages", p))); err != nil {
		t.Fatal(err)
	}
	events, err := w.do(w.request(agent.ModeUndo))
	if err != nil {
		t.Fatal(err)
	}
	var stays, gone []string
	for _, e := range events {
		stays, gone = append(stays, e.Stays...), append(gone, e.Gone...)
	}
	if diff := cmp.Diff([]string{"chrony", "ipset", "socat"}, stays); diff != "" {
		t.Errorf("both runs count (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"systemd-timesyncd"}, gone); diff != "" {
		t.Errorf("removed by apt (-want +got):\n%s", diff)
	}
}

func TestT49HostileJournal(t *testing.T) {
	entry := func(spec, prior string) string {
		it := `{"id":"x","kind":"directory","spec":` + spec + `}`
		return `{"op":"owner","time":"2024-01-01T00:00:00Z","owner":{"cluster":"lab","host":"h"}}` + "\n" +
			`{"op":"intent","time":"2024-01-01T00:00:00Z","id":"x","key":"k","item":` + it + `,"prior":` + prior + "}\n"
	}
	tests := []struct {
		name, journal string
		mode          os.FileMode
		link          bool
	}{
		{name: "root", journal: entry(`{"path":"/","purge":true}`, `{}`)},
		{name: "dots", journal: entry(`{"path":"/etc/../..","purge":true}`, `{}`)},
		{name: "link in place of the directory", journal: entry(`{"path":"/link","purge":true}`, `{}`)},
		{name: "backup from elsewhere", journal: strings.ReplaceAll(
			entry(`{"path":"/copy"}`, `{"existed":true,"backup":"/etc/victim"}`), "directory", "file")},
		{name: "group may write", journal: entry(`{"path":"/etc","purge":true}`, `{}`), mode: 0o620},
		{name: "is a link", journal: entry(`{"path":"/etc","purge":true}`, `{}`), link: true},
		{name: "garbage", journal: "garbage\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.Write(t, "etc/victim", "keep", 0o600)
			if err := os.Symlink("etc", filepath.Join(w.Root, "link")); err != nil {
				t.Fatal(err)
			}
			mode := tt.mode
			if mode == 0 {
				mode = 0o600
			}
			path := journalPath
			if tt.link {
				path = "tmp/journal"
				if err := os.MkdirAll(filepath.Join(w.Root, "var/lib/offk8s"), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink("../../../tmp/journal", filepath.Join(w.Root, journalPath)); err != nil {
					t.Fatal(err)
				}
			}
			w.Write(t, path, tt.journal, mode)
			if _, err := w.do(w.request(agent.ModeUndo)); err == nil {
				t.Error("no error")
			}
			if got := w.Read(t, "etc/victim"); got != "keep" {
				t.Errorf("victim is %q", got)
			}
			if _, err := os.Lstat(filepath.Join(w.Root, "copy")); err == nil {
				t.Error("a file was copied from outside of the backups")
			}
		})
	}
}

func TestFacts(t *testing.T) {
	w := newWorld(t, 1)
	if _, err := w.do(w.request(agent.ModeApply)); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{
		"etc/os-release":                          "NAME=\"Rocky Linux\"\nID=\"rocky\"\nVERSION_ID=\"9.4\"\nID_LIKE=\"rhel centos fedora\"\n",
		"proc/sys/kernel/osrelease":               "5.14.0\n",
		"proc/sys/kernel/hostname":                "cp-1\n",
		"proc/meminfo":                            "MemTotal: 2048 kB\nSwapTotal: 1024 kB\n",
		"sys/fs/cgroup/cgroup.controllers":        "cpu memory pids\n",
		"usr/bin/dnf":                             "",
		"usr/lib/systemd/system/nftables.service": "",
		"usr/bin/yum":                             "",
		"var/lib/etcd/member/x":                   "",
		"usr/local/bin/x":                         "",
		"proc/net/tcp":                            "  sl\n 0: 0100007F:1F90 00000000:0000 0A\n 1: 0100007F:1F91 00000000:0000 01\n",
		"proc/net/udp6":                           "  sl\n 0: 00000000000000000000000001000000:0044 0:0 07\n",
		"sys/fs/cgroup/unified/some/leftover":     "",
	} {
		w.Write(t, path, content, 0o644)
	}
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		if line := strings.Join(c.Argv, " "); strings.HasPrefix(line, "systemctl show ") && strings.HasSuffix(line, " -- nftables.service") {
			return steptest.Say("LoadState=loaded\nActiveState=active\n")
		}
		return step.Output{}, &step.NotFoundError{Name: c.Argv[0]}
	}
	events, err := w.do(agent.Request{Protocol: agent.Protocol, Mode: agent.ModeFacts})
	if err != nil {
		t.Fatal(err)
	}
	f := events[0].Facts
	if f == nil {
		t.Fatalf("no facts: %+v", events)
	}
	if f.OS.ID != "rocky" || f.OS.Version != "9.4" || len(f.OS.Like) != 3 || f.Kernel != "5.14.0" || f.Hostname != "cp-1" {
		t.Errorf("system: %+v", f)
	}
	if f.MemoryBytes != 2<<20 || f.SwapBytes != 1<<20 || f.Manager != "dnf" || f.SELinux != "disabled" || f.Systemd != 0 || f.Firewall != "nftables" {
		t.Errorf("resources: %+v", f)
	}
	if diff := cmp.Diff([]int{2}, f.Cgroups); diff != "" {
		t.Errorf("cgroups: %s", diff)
	}
	if !f.ListensOn("tcp", 8080) || f.ListensOn("tcp", 8081) || !f.ListensOn("udp", 68) {
		t.Errorf("listeners: %+v", f.Listening)
	}
	if diff := cmp.Diff([]string{"/var/lib/etcd/member"}, f.State); diff != "" {
		t.Errorf("state: %s", diff)
	}
	if f.Installed == nil || f.Installed.Cluster != "lab" || f.Installed.Sequence != 1 {
		t.Errorf("installed: %+v", f.Installed)
	}
	var back facts.Facts
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
}
