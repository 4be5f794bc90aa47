package installer_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
	"github.com/offk8s/offk8s/manifests"
)

// cluster is what the programs of hosts do: "restart HOST" changes a host, and
// "look ID" is a gate.
type cluster struct {
	mu      sync.Mutex
	log     []string
	broken  map[string]bool // hosts that fail to restart
	closed  map[string]bool // gates that do not hold
	changed map[string]bool
}

func newCluster(l *lab) *cluster {
	c := &cluster{broken: map[string]bool{}, closed: map[string]bool{}, changed: map[string]bool{}}
	for name, h := range l.hosts {
		h.world.Programs = func(_ context.Context, cmd step.Cmd) (step.Output, error) { return c.run(name, cmd) }
	}
	return c
}

func (c *cluster) run(host string, cmd step.Cmd) (step.Output, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, strings.Join(append([]string{host}, cmd.Argv...), " "))
	switch {
	case cmd.Argv[0] == "look" && c.closed[cmd.Argv[1]]:
		return steptest.Exit(cmd.Argv, 1, "does not hold")
	case cmd.Argv[0] == "restart" && c.broken[host]:
		return steptest.Exit(cmd.Argv, 1, "bad argument")
	case cmd.Argv[0] == "restart":
		c.changed[host] = true
	}
	return steptest.Say("")
}

// rolled is a stage whose hosts restart a service, between the gates before-HOST and
// after-HOST, which the first other host sees.
func rolled(l *lab, atATime int) stage.Stage {
	look := func(h manifests.Host, id string) []stage.Gate {
		var on []string
		for _, x := range l.cluster.Hosts {
			if x.Name != h.Name {
				on = append(on, x.Name)
			}
		}
		w := &step.Wait{Argv: []string{"look", id}, Timeout: 1, Interval: 1}
		return []stage.Gate{{On: on, Item: step.Item{ID: "gate/" + id, Step: w}}}
	}
	st := each("roll", func(h manifests.Host) []step.Item {
		return []step.Item{{ID: "roll/restart", Step: &step.Command{Argv: []string{"restart", h.Name}, Once: true}}}
	})
	st.AtATime = func(stage.Input) int { return atATime }
	st.Before = func(_ stage.Input, h manifests.Host) []stage.Gate { return look(h, "before-"+h.Name) }
	st.After = func(_ stage.Input, h manifests.Host) []stage.Gate { return look(h, "after-"+h.Name) }
	return st
}

// One host after the other: gate, change, gate. A second run has nothing to do and
// passes no gate.
func TestOneByOne(t *testing.T) {
	l := newLab(t, "a", "b", "c")
	c := newCluster(l)
	f, plan := l.connect(), l.plan(rolled(l, 1))
	if _, err := installer.Run(t.Context(), plan, f, installer.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"b look before-a", "a restart a", "b look after-a",
		"a look before-b", "b restart b", "a look after-b",
		"a look before-c", "c restart c", "a look after-c",
	}
	if diff := cmp.Diff(want, c.log); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	c.log = nil
	if rep, err := installer.Run(t.Context(), plan, f, installer.RunOptions{}); err != nil || rep.Changed() != 0 || len(c.log) != 0 {
		t.Errorf("second run: changed %d, programs %q, error %v", rep.Changed(), c.log, err)
	}
}

// Whatever fails, in whatever order: no two hosts of a one-by-one stage change
// together, nothing changes past a failure, and the report names what failed.
func TestRollingNeverGoesOn(t *testing.T) {
	hosts := []string{"a", "b", "c", "d", "e"}
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 0))
		l := newLab(t, hosts...)
		c := newCluster(l)
		at := 1 + r.IntN(2)
		bad := hosts[r.IntN(len(hosts))]
		fault := []string{"before-", "after-", "restart "}[r.IntN(3)]
		if fault == "restart " {
			c.broken[bad] = true
		} else {
			c.closed[fault+bad] = true
		}
		rep, err := installer.Run(t.Context(), l.plan(rolled(l, at), files("later")), l.connect(), installer.RunOptions{})
		if !errors.Is(err, installer.ErrPartial) || rep.Done {
			t.Fatalf("seed %d: %s%s: error %v, done %v", seed, fault, bad, err, rep.Done)
		}
		// Hosts have their turn in order, in batches of 1, at, at …
		batch := func(h string) int {
			if i := slices.Index(hosts, h); i > 0 {
				return (i-1)/at + 1
			}
			return 0
		}
		var want []string
		for _, h := range hosts {
			if batch(h) < batch(bad) || batch(h) == batch(bad) && (fault == "after-" || fault == "restart " && h != bad) {
				want = append(want, h)
			}
		}
		if got := slices.Sorted(maps.Keys(c.changed)); !slices.Equal(got, want) {
			t.Errorf("seed %d: %d at a time, %s%s: changed %v, want %v", seed, at, fault, bad, got, want)
		}
		for _, h := range rep.Hosts {
			if (h.Stage == "roll") != (h.Host == bad) {
				t.Errorf("seed %d: %s%s: %s failed in stage %q: %s", seed, fault, bad, h.Host, h.Stage, h.Error)
			}
			if _, ok := l.hosts[h.Host].world.Tree(t)["etc/later"]; ok {
				t.Errorf("seed %d: %s: a later stage ran", seed, h.Host)
			}
		}
	}
}

// A gate that nobody can look at does not hold.
func TestGateWithoutAnEye(t *testing.T) {
	l := newLab(t, "a")
	newCluster(l)
	st := rolled(l, 1)
	st.Before = func(stage.Input, manifests.Host) []stage.Gate {
		return []stage.Gate{{On: []string{"gone"}, Item: step.Item{ID: "g", Step: &step.Wait{Argv: []string{"look", "x"}}}}}
	}
	_, err := installer.Run(t.Context(), l.plan(st), l.connect(), installer.RunOptions{})
	if err == nil || !strings.Contains(err.Error(), "none of gone can be reached") {
		t.Errorf("error %v", err)
	}
}

// The first host whose gates hold works for all; one that is away is no candidate.
func TestAnyOf(t *testing.T) {
	for _, tt := range []struct {
		name   string
		away   []string
		closed []string
		want   string // who did it
		err    string
	}{
		{name: "the first", want: "a"},
		{name: "the first is away", away: []string{"a"}, want: "b"},
		{name: "the first does not answer", closed: []string{"a"}, want: "b"},
		{name: "away and not answering", away: []string{"a"}, closed: []string{"b"}, want: "c"},
		{name: "none answers", closed: []string{"a", "b", "c"}, err: "no host can do it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, "a", "b", "c")
			c := newCluster(l)
			st := each("lead", func(manifests.Host) []step.Item {
				return []step.Item{{ID: "lead/x", Step: &step.Command{Argv: []string{"restart", "x"}, Once: true}}}
			})
			st.AnyOf = true
			st.Before = func(_ stage.Input, h manifests.Host) []stage.Gate {
				w := &step.Wait{Argv: []string{"look", h.Name}, Timeout: 1, Interval: 1}
				return []stage.Gate{{On: []string{h.Name}, Item: step.Item{ID: "gate/api", Step: w}}}
			}
			for _, h := range tt.closed {
				c.closed[h] = true
			}
			rep, err := installer.Run(t.Context(), l.plan(st), l.without(tt.away...), installer.RunOptions{})
			if got := strings.Join(slices.Sorted(maps.Keys(c.changed)), " "); got != tt.want {
				t.Errorf("done by %q, want %q", got, tt.want)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if tt.err == "" && (!rep.Done || (err == nil) != (len(tt.away) == 0)) {
				t.Errorf("done %v, error %v", rep.Done, err)
			}
		})
	}
}

// A gate that held is passed again only after a change.
func TestGateIsRemembered(t *testing.T) {
	l := newLab(t, "a")
	c := newCluster(l)
	lead := func(name string, items ...step.Item) stage.Stage {
		st := each(name, func(manifests.Host) []step.Item { return items })
		st.AnyOf = true
		st.Before = func(_ stage.Input, h manifests.Host) []stage.Gate {
			return []stage.Gate{{On: []string{h.Name}, Item: step.Item{ID: "gate/api", Step: &step.Wait{Argv: []string{"look", h.Name}}}}}
		}
		return st
	}
	file := func(name string) step.Item {
		return step.Item{ID: name, Step: &step.File{Path: "/" + name, Content: "x"}}
	}
	plan, f := l.plan(lead("one", file("one")), lead("two", file("two")), lead("three", file("three"))), l.connect()
	for _, want := range []int{3, 1} { // the second run changes nothing
		c.log = nil
		if _, err := installer.Run(t.Context(), plan, f, installer.RunOptions{}); err != nil || len(c.log) != want {
			t.Errorf("%d looks, want %d; error %v", len(c.log), want, err)
		}
	}
}

// without connects to all hosts but some.
func (l *lab) without(away ...string) *installer.Fleet {
	f, err := installer.Connect(l.t.Context(), l.cluster, installer.ConnectOptions{
		Partial: true,
		Binary:  l.binary(),
		Dial: func(_ context.Context, h manifests.Host) (host.Host, error) {
			if slices.Contains(away, h.Name) {
				return nil, errors.New("no route")
			}
			return l.hosts[h.Name], nil
		},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = f.Close() })
	return f
}

// A worker that fails or is away stops nobody else; the run is partial. A control
// plane or a member of etcd stops the run.
func TestOptionalHosts(t *testing.T) {
	for _, tt := range []struct {
		bad, role string
		away      bool
		done      bool
	}{
		{"c", "worker", false, true},
		{"c", "worker", true, true},
		{"c", "etcd", false, false},
		{"c", "control-plane", false, false},
	} {
		t.Run(fmt.Sprintf("%s away %t", tt.role, tt.away), func(t *testing.T) {
			l := newLab(t, "a", "b", "c")
			l.cluster.Hosts[2].Roles = []manifests.Role{manifests.Role(tt.role)}
			c := newCluster(l)
			c.broken[tt.bad] = true
			f := l.connect()
			if tt.away {
				f = l.without(tt.bad)
			}
			op := stage.Operation{Name: "test", Stages: []stage.Stage{each("one", func(h manifests.Host) []step.Item {
				return []step.Item{{ID: "one/x", Step: &step.Command{Argv: []string{"restart", h.Name}, Once: true}}}
			}), files("two"), files("three")}}
			in := stage.Input{Cluster: l.cluster, Lock: &manifests.Lock{}}
			replan := func(away map[string]bool) (*installer.Plan, error) {
				in.Away = away
				return installer.NewPlan(in, op)
			}
			plan, err := replan(nil)
			if err != nil {
				t.Fatal(err)
			}
			rep, err := installer.Run(t.Context(), plan, f, installer.RunOptions{Replan: replan})
			if !errors.Is(err, installer.ErrPartial) || rep.Done != tt.done {
				t.Errorf("done %v, error %v", rep.Done, err)
			}
			for _, h := range rep.Hosts {
				_, ok := l.hosts[h.Host].world.Tree(t)["etc/three"]
				if want := tt.done && h.Host != tt.bad; ok != want {
					t.Errorf("%s: the last stage ran: %t, want %t", h.Host, ok, want)
				}
				if h.Host == tt.bad && !tt.away && h.NotRun != 4 {
					t.Errorf("%s: %d steps not run, want 4", h.Host, h.NotRun)
				}
			}
		})
	}
}
