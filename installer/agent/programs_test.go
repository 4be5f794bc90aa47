package agent_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/step"
)

// programs adds three versions of a program to the bundle. Each is the steps of a plan.
func programs(w *world) (versions [][]step.Item, old step.Item) {
	for _, v := range []string{"v1", "v2", "v3"} {
		w.b.AddFile(w.t, "tool-"+v, "tool/"+v, bytes.Repeat([]byte(v), 200_000), true)
		a := w.b.Lock.Artifacts[len(w.b.Lock.Artifacts)-1]
		dir := ".offk8s/" + a.Plain.Digest.Encoded()[:12]
		versions = append(versions, []step.Item{
			item("node/program-tool", &step.Artifact{Digest: a.Plain.Digest, Path: "/usr/local/bin/" + dir + "/tool"}),
			item("node/tool", &step.Symlink{Path: "/usr/local/bin/tool", To: dir + "/tool"}),
			item("node/unit", &step.Unit{Name: "tool.service", Content: "[Service]\n", Running: true, Triggers: []string{"/usr/local/bin/tool"}}),
		})
		if v == "v1" {
			old = item("node/tool", &step.Artifact{Digest: a.Plain.Digest, Path: "/usr/local/bin/tool"})
		}
	}
	w.serve(1)
	return versions, old
}

// Programs lie beside each other. The one before stays, so that the way back needs no
// mirror; older ones go. A service restarts only if its program has another content.
func TestProgramsOfTwoGenerations(t *testing.T) {
	for _, foreign := range []string{"", "foreign", strings.Repeat("foreign", 100_000)} {
		w := newWorld(t, 1)
		m := newMachine(w)
		versions, old := programs(w)
		w.Write(t, "usr/local/bin/other", "", 0o755)
		w.Write(t, "var/lib/x", "", 0o644)
		w.Write(t, "etc/systemd/system/x", "", 0o644)
		if foreign != "" {
			w.Write(t, "usr/local/bin/tool", foreign, 0o750)
		}
		before := w.Tree(t)
		day := 0
		run := func(items ...step.Item) {
			t.Helper()
			day++
			m.verbs, w.paths = nil, nil
			req := w.request(agent.ModeApply, items...)
			req.Started = time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)
			if _, err := w.do(req); err != nil {
				t.Fatal(err)
			}
			w.prune(agent.ModeApply, items...)
		}
		fetched := func() bool {
			return slices.ContainsFunc(w.paths, func(p string) bool { return strings.HasPrefix(p, "/files/tool/") })
		}
		program := func() string { return w.Read(t, "usr/local/bin/tool")[:2] }
		kept := func() int {
			n := 0
			for p := range w.Tree(t) {
				if strings.HasPrefix(p, "usr/local/bin/.offk8s/") && strings.HasSuffix(p, "/tool") {
					n++
				}
			}
			return n
		}
		// A host of an older offk8s, which had a file in place of the link.
		run(old, versions[0][2])
		run(versions[0]...)
		if program() != "v1" || slices.Contains(m.verbs, "restart tool.service") {
			t.Errorf("the same program in another place: %q, systemctl %q", program(), m.verbs)
		}
		run(versions[1]...)
		if program() != "v2" || kept() != 2 || !slices.Contains(m.verbs, "restart tool.service") {
			t.Errorf("new program: %q, %d kept, systemctl %q", program(), kept(), m.verbs)
		}
		run(versions[0]...)
		if program() != "v1" || kept() != 2 || fetched() {
			t.Errorf("way back: %q, %d kept, fetched %q", program(), kept(), w.paths)
		}
		run(versions[2]...)
		if program() != "v3" || kept() != 2 {
			t.Errorf("third program: %q, %d kept; want v1 and v3", program(), kept())
		}
		journal := w.Read(t, journalPath)
		run(versions[2]...)
		if got := w.Read(t, journalPath); got != journal {
			t.Errorf("the next run wrote:\n%s", strings.TrimPrefix(got, journal))
		}
		if _, err := w.do(w.request(agent.ModeUndo)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, w.Tree(t)); diff != "" {
			t.Errorf("reset (-before +after):\n%s", diff)
		}
	}
}

// A host that has no such program any more keeps none of any generation.
func TestProgramsGoWithTheRole(t *testing.T) {
	w := newWorld(t, 1)
	newMachine(w)
	versions, _ := programs(w)
	w.apply(versions[0]...)
	w.apply(versions[1]...)
	w.prune(agent.ModeApply)
	for p := range w.Tree(t) {
		if strings.Contains(p, ".offk8s") || strings.HasSuffix(p, "/tool") {
			t.Errorf("%s is still there", p)
		}
	}
}
