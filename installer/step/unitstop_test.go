package step_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// Units are stopped in their order, those that fail again and again too; undo starts none.
func TestUnitStop(t *testing.T) {
	w := steptest.New(t)
	state := map[string]string{"a.service": "active", "b.service": "inactive", "c.service": "activating"}
	var stopped []string
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		name := c.Argv[len(c.Argv)-1]
		switch c.Argv[1] {
		case "show":
			return steptest.Say("LoadState=loaded\nActiveState=" + state[name] + "\nSubState=auto-restart\n")
		case "stop":
			state[name], stopped = "failed", append(stopped, name)
		default:
			t.Errorf("called %q", c.Argv)
		}
		return steptest.Say("")
	}
	u := &step.UnitStop{Names: []string{"a.service", "b.service", "c.service"}}
	if err := u.Validate(); err != nil || (&step.UnitStop{Names: []string{"-x"}}).Validate() == nil {
		t.Fatal(err)
	}
	if res, err := u.Check(t.Context(), w.Env()); err != nil || res.State != step.Differs || !strings.Contains(res.Reason, "a.service, c.service") {
		t.Errorf("check: %+v, %v", res, err)
	}
	if _, err := u.Apply(t.Context(), w.Env()); err != nil || !slices.Equal(stopped, []string{"a.service", "c.service"}) {
		t.Errorf("stopped %q, %v", stopped, err)
	}
	if res, err := u.Check(t.Context(), w.Env()); err != nil || res.State != step.OK {
		t.Errorf("check after: %+v, %v", res, err)
	}
}
