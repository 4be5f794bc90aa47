package stage

import (
	"slices"
	"testing"
)

// Units lists every unit that a stage writes.
func TestUnits(t *testing.T) {
	for minor, in := range map[string]Input{"1.16": testInput(t, "1.16"), "1.36": nodeLocal(t, "1.36")} {
		for _, h := range in.Cluster.Hosts {
			written := unitsOf(t, in, h)
			for _, name := range written {
				if !slices.Contains(Units(in.Cluster, h), name) {
					t.Errorf("%s: %s: a step writes the unit %q, which is not in Units", minor, h.Name, name)
				}
			}
			if len(written) == 0 {
				t.Errorf("%s: %s: no units", minor, h.Name)
			}
		}
	}
}
