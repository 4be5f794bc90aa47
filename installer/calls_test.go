package installer_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
	"github.com/offk8s/offk8s/manifests"
)

const unitProperties = "--property=Id,LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,FragmentPath,SourcePath,Job"

// machine answers the programs of a host that remembers what was installed.
type machine struct {
	there  map[string]bool // packages, and images by reference
	digest digest.Digest   // of all images
}

func (m *machine) run(_ context.Context, c step.Cmd) (step.Output, error) {
	line, last := strings.Join(c.Argv, " "), c.Argv[len(c.Argv)-1]
	switch {
	case strings.Contains(line, "images check"):
		out := ""
		for _, filter := range c.Argv {
			name, _, _ := strings.Cut(filter, ",labels.")
			if name, ok := strings.CutPrefix(name, "name=="); ok && m.there[name] {
				out += name + " type " + m.digest.String() + " complete (2/2) 1 MiB true\n"
			}
		}
		return steptest.Say(out)
	case strings.HasPrefix(line, "systemctl show "):
		_, names, _ := strings.Cut(line, " -- ")
		return steptest.Say(strings.Repeat("LoadState=not-found\n\n", len(strings.Fields(strings.ReplaceAll(names, "*.swap", "")))))
	case strings.Contains(line, "images pull"), strings.Contains(line, "images tag"):
		m.there[last] = true
	case c.Argv[0] == "rpm":
		if slices.ContainsFunc(c.Argv[3:], func(n string) bool { return !m.there[n] }) {
			return steptest.Exit(c.Argv, 1, "not installed")
		}
	case c.Argv[0] == "dnf":
		for _, n := range c.Argv[1:] {
			m.there[n] = true
		}
	}
	return steptest.Say("")
}

// A second run of a plan is fast only if nobody adds calls to it: these are all
// connections, requests and programs of a host on which nothing changes.
func TestCallsOfASecondRun(t *testing.T) {
	d := digest.FromString("image")
	stages := []stage.Stage{
		files("first"),
		each("time", func(manifests.Host) []step.Item {
			out := []step.Item{{ID: "time/config", Step: &step.File{Path: "/etc/chrony.conf"}}}
			for _, u := range []string{"ntp.service", "ntpsec.service", "systemd-timesyncd.service"} {
				out = append(out, step.Item{ID: "time/no-" + u, Step: &step.Unit{Name: u, Stopped: true}})
			}
			return out
		}),
		each("units", func(manifests.Host) []step.Item {
			return []step.Item{{ID: "units/swap", Step: &step.Swap{}}, {ID: "units/no-swapspace", Step: &step.Unit{Name: "swapspace.service", Stopped: true}}}
		}),
		each("packages", func(manifests.Host) []step.Item {
			return []step.Item{{ID: "packages/all", Step: &step.Packages{
				Manager: step.ManagerDnf, Names: []string{"chrony", "socat", "conntrack"}, Source: "/etc/offk8s/r",
			}}, {ID: "packages/time", Step: &step.Packages{Manager: step.ManagerDnf, Names: []string{"chrony"}, Source: "/etc/offk8s/r"}}}
		}),
		each("images", func(manifests.Host) []step.Item {
			var out []step.Item
			for i := range 5 {
				out = append(out, step.Item{ID: fmt.Sprint("images/", i), Step: &step.Image{Name: fmt.Sprintf("r/%d:1", i), Digest: d}})
			}
			return out
		}),
	}
	l := newLab(t, "a", "b")
	for _, h := range l.hosts {
		h.world.Programs = (&machine{there: map[string]bool{}, digest: d}).run
	}
	for run := range 2 {
		for _, h := range l.hosts {
			h.world.Calls, h.requests, h.agents = nil, nil, 0
			h.calls = nil
		}
		f := l.connect()
		rep, err := installer.Run(t.Context(), l.plan(stages...), f, installer.RunOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if changed := rep.Changed(); (changed == 0) != (run == 1) {
			t.Errorf("run %d: %d changes", run, changed)
		}
	}
	for name, h := range l.hosts {
		var programs []string
		for _, c := range h.world.Calls {
			programs = append(programs, strings.Join(c[:min(4, len(c))], " "))
		}
		slices.Sort(programs) // they run at the same time
		want := []string{step.BinDir + "/ctr --namespace k8s.io images", "rpm -q --whatprovides chrony", "systemctl show " + unitProperties + " --all"}
		if diff := cmp.Diff(want, programs); diff != "" {
			t.Errorf("%s: programs (-want +got):\n%s", name, diff)
		}
		if len(h.requests) != 1+len(stages) || h.agents != 1 {
			t.Errorf("%s: %d requests to %d agents, want one for the look ahead and one for each stage, to one agent", name, len(h.requests), h.agents)
		}
		if calls := h.Calls(); len(calls) != 3 { // the first look, the digest after the upload, agent
			t.Errorf("%s: commands over SSH: %q", name, calls)
		}
	}
}
