package kube

import (
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
)

// A node that leaves is drained with the flags of its version, and deleted. One that is
// not registered needs neither.
func TestNodeLeaves(t *testing.T) {
	f, w := newCluster(t)
	var calls []string
	f.on = func(args []string) {
		if args[0] != "get" {
			calls = append(calls, strings.Join(args, " "))
		}
	}
	drain, gone := &Drain{Name: "node-1", Args: []string{"--delete-emptydir-data"}}, &NodeGone{Name: "node-1"}
	for _, s := range []step.Step{drain, gone} {
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		if res, err := s.Check(t.Context(), w.Env()); err != nil || res.State != step.OK {
			t.Errorf("%s without the node: %+v, %v", s.Kind(), res, err)
		}
	}
	f.put(`{"kind":"Node","metadata":{"name":"node-1"}}`)
	for _, s := range []step.Step{drain, gone} {
		if res, err := s.Check(t.Context(), w.Env()); err != nil || res.State != step.Differs {
			t.Errorf("%s: %+v, %v", s.Kind(), res, err)
		}
		if _, err := s.Apply(t.Context(), w.Env()); err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"drain node-1 --ignore-daemonsets --force --timeout=10m0s --delete-emptydir-data",
		"delete node node-1 --ignore-not-found",
	}
	if !slices.Equal(calls, want) {
		t.Errorf("calls %q, want %q", calls, want)
	}
	if (&Drain{Name: "n", Args: []string{"rm"}}).Validate() == nil || (&NodeGone{Name: "-n"}).Validate() == nil {
		t.Error("bad arguments are accepted")
	}
}
