package agent_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
)

// owners returns the owner entries of the journal.
func (w *world) owners() []facts.Installed {
	w.t.Helper()
	var out []facts.Installed
	for line := range strings.Lines(w.Read(w.t, journalPath)) {
		var e struct {
			Owner *facts.Installed `json:"owner"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			w.t.Fatal(err)
		}
		if e.Owner != nil {
			out = append(out, *e.Owner)
		}
	}
	return out
}

func TestGenerations(t *testing.T) {
	w := newWorld(t, 1)
	req := w.request(agent.ModeApply)
	req.Started, req.Operator = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "ann@desk"
	req.Roles = []string{"worker"}
	req.Hosts = []facts.Member{{Name: "cp-1", Address: "10.0.0.1", Roles: []string{"worker"}, SSHUser: "admin"}}
	apply := func() {
		t.Helper()
		if _, err := w.do(req); err != nil {
			t.Fatal(err)
		}
	}
	apply()
	// Another operator who changes nothing leaves the journal as it is.
	whole := w.Read(t, journalPath)
	req.Started, req.Operator = req.Started.Add(time.Hour), "bob@desk"
	apply()
	if got := w.Read(t, journalPath); got != whole {
		t.Errorf("the second run wrote to the journal:\n%s", strings.TrimPrefix(got, whole))
	}
	// Other hosts are another generation.
	req.Hosts = append(req.Hosts, facts.Member{Name: "w-1", Address: "10.0.0.2"})
	apply()
	got := w.owners()
	if len(got) != 2 || got[0].Generation != 1 || got[1].Generation != 2 {
		t.Fatalf("owners: %+v", got)
	}
	first, second := got[0], got[1]
	if first.Operator != "ann@desk" || !first.Time.Equal(req.Started.Add(-time.Hour)) || first.Roles[0] != "worker" || first.Hosts[0].SSHUser != "admin" {
		t.Errorf("first: %+v", first)
	}
	if second.Operator != "bob@desk" || !second.Time.Equal(req.Started) || len(second.Hosts) != 2 {
		t.Errorf("second: %+v", second)
	}
}

// TestHostsOfTheRequestBefore: the operator sends the hosts of the cluster once in a session.
func TestHostsOfTheRequestBefore(t *testing.T) {
	w := newWorld(t, 1)
	o := w.operator()
	req := w.request(agent.ModeApply)
	req.Hosts = []facts.Member{{Name: "cp-1", Address: "10.0.0.1"}}
	for range 2 {
		if _, err := o.ask(req); err != nil {
			t.Fatal(err)
		}
		req.Hosts = nil
	}
	if err := o.leave(); err != nil {
		t.Error(err)
	}
	if got := w.owners(); len(got) != 1 || len(got[0].Hosts) != 1 {
		t.Errorf("owners: %+v", got)
	}
}
