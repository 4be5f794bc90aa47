package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// state is what a journal holds.
type state struct {
	Records       []*record
	Owner, Before *facts.Installed
}

func readJournal(t *testing.T, env *step.Env) state {
	t.Helper()
	j, err := openJournal(env)
	if err != nil {
		t.Fatal(err)
	}
	return state{j.records, j.owner, j.before}
}

func sameState(t *testing.T, want, got state) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(record{}), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
}

// newHost returns a host with an empty state directory.
func newHost(t *testing.T) *step.Env {
	env := steptest.New(t).Env()
	if err := os.MkdirAll(env.Path(StateDir), 0o700); err != nil {
		t.Fatal(err)
	}
	return env
}

// Whatever the journal has seen, reading it gives what was written, before and after it
// was compacted, and what comes later adds to either.
func TestCompact(t *testing.T) {
	for seed := range uint64(15) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		env := newHost(t)
		j, err := openJournal(env)
		if err != nil {
			t.Fatal(err)
		}
		for range rnd.IntN(120) {
			if err := randomEntry(j, rnd); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		want := state{j.records, j.owner, j.before}
		sameState(t, want, readJournal(t, env))
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
		if err := j.compact(); err != nil {
			t.Fatal(err)
		}
		sameState(t, want, readJournal(t, env))
		if lines := strings.Count(journalText(t, env), "\n"); lines > len(j.records)+2 {
			t.Errorf("seed %d: %d lines for %d records", seed, lines, len(j.records))
		}
		for range 10 {
			if err := randomEntry(j, rnd); err != nil {
				t.Fatalf("seed %d: after compaction: %v", seed, err)
			}
		}
		sameState(t, state{j.records, j.owner, j.before}, readJournal(t, env))
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// randomEntry does one of the things that a run does to a journal.
func randomEntry(j *journal, rnd *rand.Rand) error {
	it := step.Item{ID: fmt.Sprintf("id-%d", rnd.IntN(4)), Step: &step.File{
		Path: fmt.Sprintf("/etc/%d", rnd.IntN(3)), Content: fmt.Sprint(rnd.IntN(3)),
	}}
	prior := json.RawMessage(fmt.Sprintf(`{"existed":true,"uid":%d}`, rnd.IntN(9)))
	r := j.find(keyOf(it))
	switch n := rnd.IntN(8); {
	case n == 0:
		j.started = time.Date(2026, 1, 1, rnd.IntN(24), 0, 0, 0, time.UTC)
		return j.setOwner(facts.Installed{Cluster: "lab", Sequence: rnd.Int64N(3)})
	case n == 1 && r != nil:
		return j.undone(r)
	case n == 2 && len(j.records) > 0:
		_, err := j.insert(it, prior, j.records[rnd.IntN(len(j.records))])
		return err
	case n == 3 && r != nil:
		next := *r
		next.Prior, next.Stale = prior, !r.Stale
		return j.rewrite(&next)
	case n == 4:
		return j.intent(it, nil, prior) // and dies
	}
	if err := j.intent(it, nil, prior); err != nil {
		return err
	}
	return j.done(it, step.Result{Prior: prior})
}

func journalText(t *testing.T, env *step.Env) string {
	t.Helper()
	b, err := env.ReadFile(journalFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A long journal is rewritten before the next entry, and only then.
func TestCompactWhenLong(t *testing.T) {
	env := newHost(t)
	conf := func(n int) step.Item {
		return step.Item{ID: "a", Step: &step.File{Path: "/etc/a", Content: fmt.Sprint(n)}}
	}
	longest := 0
	for n := range 100 {
		j, err := openJournal(env)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 && len(j.records) != 1 {
			t.Fatalf("run %d: %d records", n, len(j.records))
		}
		if err := j.intent(conf(n), nil, json.RawMessage(`{"existed":false}`)); err != nil {
			t.Fatal(err)
		}
		if err := j.done(conf(n), step.Result{}); err != nil {
			t.Fatal(err)
		}
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, strings.Count(journalText(t, env), "\n"))
	}
	if longest > compactFactor*compactMin+2 || longest < compactMin {
		t.Errorf("the journal had %d lines", longest)
	}
	got := readJournal(t, env)
	if want := `"content":"99"`; !strings.Contains(string(got.Records[0].Item), want) {
		t.Errorf("item %s, want %s", got.Records[0].Item, want)
	}
	if st, err := os.Stat(env.Path(journalFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", st.Mode(), err)
	}
}

// The record has the item of the generation before and the state before offk8s.
func TestPreviousItem(t *testing.T) {
	env := newHost(t)
	j, err := openJournal(env)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	content := func(s string) step.Item { return step.Item{ID: "a", Step: &step.File{Path: "/etc/a", Content: s}} }
	for n, c := range []string{"1", "2", "2", "3", "3"} {
		j.started = time.Date(2026, 1, 1+n, 0, 0, 0, 0, time.UTC)
		owner := facts.Installed{Cluster: "lab"}
		if n == 4 {
			owner.Sequence = 9 // another bundle, the same item
		}
		it := content(c)
		prior := json.RawMessage(fmt.Sprintf(`{"existed":true,"uid":%d}`, n))
		if err := errors.Join(j.setOwner(owner), j.intent(it, nil, prior), j.done(it, step.Result{})); err != nil {
			t.Fatal(err)
		}
	}
	got := readJournal(t, env)
	r := got.Records[0]
	if r.Generation != 3 || r.Previous == nil || r.Previous.Generation != 2 {
		t.Fatalf("record of generation %d, previous %+v; want 3 and 2", r.Generation, r.Previous)
	}
	if !strings.Contains(string(r.Previous.Item), `"content":"2"`) || string(r.Prior) != `{"existed":true,"uid":0}` {
		t.Errorf("previous %s, prior %s", r.Previous.Item, r.Prior)
	}
	if got.Owner.Generation != 4 || got.Before.Generation != 3 {
		t.Errorf("owners: %+v, %+v", got.Owner, got.Before)
	}
}

// The format of the first release: hosts have such journals.
func TestOldJournal(t *testing.T) {
	old, err := os.ReadFile(filepath.Join("testdata", "journal-1.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	env := newHost(t)
	old = append(old, `{"op":"intent","time":"2026-11-02T10:`...) // the power failed
	if err := os.WriteFile(env.Path(journalFile), old, 0o600); err != nil {
		t.Fatal(err)
	}
	got := readJournal(t, env)
	var ids []string
	for _, r := range got.Records {
		ids = append(ids, fmt.Sprint(r.ID, " ", r.Done))
		it, err := step.All().Decode(r.Item)
		if err != nil {
			t.Errorf("%s: %v", r.ID, err)
		} else if keyOf(it) != r.Key {
			t.Errorf("%s: key %q, want %q: its step would look new", r.ID, keyOf(it), r.Key)
		}
	}
	if diff := cmp.Diff([]string{"host/hosts true", "host/sysctl true", "node/kubelet true", "etcd/data false"}, ids); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.Owner.Sequence != 2 || got.Owner.Components["kubernetes"] != "1.36.0" || got.Owner.Generation != 0 {
		t.Errorf("owner %+v", got.Owner)
	}
	if want := `"net.y":"0"`; !strings.Contains(string(got.Records[1].Prior), want) {
		t.Errorf("prior %s, want %s", got.Records[1].Prior, want)
	}
	// The next run continues it.
	j, err := openJournal(env)
	if err != nil {
		t.Fatal(err)
	}
	j.started = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	it := step.Item{ID: "host/sysctl", Step: &step.Sysctl{Values: map[string]string{"net.x": "1"}}}
	if err := errors.Join(j.intent(it, nil, nil), j.done(it, step.Result{}), j.close()); err != nil {
		t.Fatal(err)
	}
	got = readJournal(t, env)
	if r := got.Records[1]; got.Owner.Generation != 1 || r.Generation != 1 || r.Previous == nil || r.Previous.Generation != 0 {
		t.Errorf("owner %+v, record %+v", got.Owner, r)
	}
}

// Reset removes files that a crash left beside the journal.
// The next agent removes what a killed one left half written.
func TestOpenRemovesHalfWrittenFiles(t *testing.T) {
	env := newHost(t)
	part := env.Path(StateDir + "/.stamps.json.1.partial")
	if err := os.WriteFile(part, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &session{env: env}
	if err := s.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.release()
	if _, err := os.Stat(part); !os.IsNotExist(err) {
		t.Errorf("%s: %v, want it gone", part, err)
	}
}

func TestForgetRemovesHalfWrittenFiles(t *testing.T) {
	env := newHost(t)
	if err := os.WriteFile(env.Path(StateDir+"/.journal.jsonl.1.partial"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := openJournal(env)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&session{env: env}).forget(j); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(env.Path(StateDir)); !os.IsNotExist(err) {
		t.Errorf("state directory: %v, want it gone", err)
	}
}
