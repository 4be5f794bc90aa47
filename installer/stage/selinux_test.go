package stage

import (
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
)

// On hosts with SELinux, no unit keeps its daemon in systemd's domain, and directories get
// the types of the policy after the packages that bring it. Other hosts keep the option.
func TestSELinuxHost(t *testing.T) {
	for mode, on := range map[string]bool{"": false, "disabled": false, "permissive": true, "enforcing": true} {
		in := testInput(t, "1.36")
		for name, f := range in.Facts {
			f.SELinux = mode
			in.Facts[name] = f
		}
		units, options := 0, 0
		for p := range plan(t, in) {
			if u, ok := p.Step.(*step.Unit); ok && u.Content != "" {
				units++
				options += strings.Count(u.Content, "NoNewPrivileges=yes")
			}
		}
		if units == 0 || (options == 0) != on {
			t.Errorf("mode %q: %d units with NoNewPrivileges of %d", mode, options, units)
		}
		it, ok := steps(t, in, "runtime", "node-1")["selinux-directories"]
		if ok != on || on && !slices.Contains(it.Step.(*step.SELinux).Restore, "/var/lib/kubelet") {
			t.Errorf("mode %q: directories %+v", mode, it.Step)
		}
	}
	order := Install().Stages
	at := func(name string) int { return slices.IndexFunc(order, func(s Stage) bool { return s.Name == name }) }
	if at("packages") > at("runtime") {
		t.Error("labels are set before the packages with the policy")
	}
}
