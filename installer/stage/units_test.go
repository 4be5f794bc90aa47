package stage

import (
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
)

// Units lists every unit that a stage writes.
func TestUnits(t *testing.T) {
	for minor, in := range map[string]Input{"1.16": testInput(t, "1.16"), "1.36": nodeLocal(t, "1.36")} {
		for _, h := range in.Cluster.Hosts {
			found := 0
			for _, s := range Install().Stages {
				if s.Steps == nil {
					continue
				}
				items, err := s.Steps(in, h)
				if err != nil {
					t.Fatal(err)
				}
				for _, it := range items {
					u, ok := it.Step.(*step.Unit)
					if !ok || u.Content == "" {
						continue
					}
					found++
					if name := strings.TrimSuffix(u.Name, ".service"); !slices.Contains(Units(in.Cluster, h), name) {
						t.Errorf("%s: %s: step %s writes the unit %q, which is not in Units", minor, h.Name, it.ID, name)
					}
				}
			}
			if found == 0 {
				t.Errorf("%s: %s: no units", minor, h.Name)
			}
		}
	}
}
