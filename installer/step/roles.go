package step

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Observer is implemented by kinds that may change nothing: what only looks is
// not journaled.
type Observer interface {
	// Observes reports whether this step changes nothing on the host.
	Observes() bool
}

// Observes is true: waiting changes nothing.
func (w *Wait) Observes() bool { return true }

// Observes is true for a command that only verifies.
func (c *Command) Observes() bool { return c.Verify }

// Stayer is implemented by kinds whose Undo leaves something behind on purpose.
type Stayer interface {
	// Stays names what the step brought and Undo leaves, given its prior.
	Stays(prior json.RawMessage) []string
}

// Merger is implemented by kinds whose later runs may add to what Undo has to
// take back. For the others the first prior alone says what was there before offk8s.
type Merger interface {
	// MergePrior returns the prior that covers both runs.
	MergePrior(first, later json.RawMessage) (json.RawMessage, error)
}

// MergePrior adds up the packages that were not there.
func (p *Packages) MergePrior(first, later json.RawMessage) (json.RawMessage, error) {
	var a, b packagesPrior
	if err := both(first, later, &a, &b); err != nil {
		return nil, err
	}
	a.Missing = union(a.Missing, b.Missing)
	return priorJSON(a), nil
}

// MergePrior adds up the rules that were not there.
func (f *Firewall) MergePrior(first, later json.RawMessage) (json.RawMessage, error) {
	var a, b firewallPrior
	if err := both(first, later, &a, &b); err != nil {
		return nil, err
	}
	if a.Manager != b.Manager {
		// The host has another firewall now; the rules of the former went with it.
		return later, nil
	}
	a.Rules = union(a.Rules, b.Rules)
	return priorJSON(a), nil
}

// MergePrior adds up the paths that were labelled.
func (s *SELinux) MergePrior(first, later json.RawMessage) (json.RawMessage, error) {
	var a, b selinuxPrior
	if err := both(first, later, &a, &b); err != nil {
		return nil, err
	}
	a.Paths = union(a.Paths, b.Paths)
	return priorJSON(a), nil
}

// MergePrior keeps each setting's first value.
func (s *Sysctl) MergePrior(first, later json.RawMessage) (json.RawMessage, error) {
	var a, b sysctlPrior
	if err := both(first, later, &a, &b); err != nil {
		return nil, err
	}
	for k, v := range b.Values {
		if _, ok := a.Values[k]; !ok {
			if a.Values == nil {
				a.Values = map[string]string{}
			}
			a.Values[k] = v
		}
	}
	return priorJSON(a), nil
}

func both(first, later json.RawMessage, a, b any) error {
	if err := json.Unmarshal(first, a); err != nil {
		return fmt.Errorf("prior state: %w", err)
	}
	if err := json.Unmarshal(later, b); err != nil {
		return fmt.Errorf("prior state: %w", err)
	}
	return nil
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, x := range b {
		if !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}
