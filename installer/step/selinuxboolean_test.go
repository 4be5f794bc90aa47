package step_test

import (
	"context"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

func TestSELinuxBoolean(t *testing.T) {
	const file = "sys/fs/selinux/booleans/haproxy_connect_any"
	s := &step.SELinuxBoolean{Name: "haproxy_connect_any", Value: true}
	w := steptest.New(t)
	w.Write(t, "sys/fs/selinux/enforce", "1", 0o644)
	w.Write(t, file, "0 0", 0o644)
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		if len(c.Argv) != 4 || c.Argv[0] != "setsebool" || c.Argv[1] != "-P" || c.Argv[2] != s.Name {
			return steptest.Exit(c.Argv, 1, "usage")
		}
		value := map[string]string{"on": "1 1", "off": "0 0"}[c.Argv[3]]
		w.Write(t, file, value, 0o644)
		return steptest.Say("")
	}
	steptest.Suite(t, steptest.Case{Name: "off before", Step: s, World: w})

	t.Run("another step wants it", func(t *testing.T) {
		w.Write(t, file, "1 1", 0o644)
		env := w.Env()
		env.Kept = []step.Step{&step.SELinuxBoolean{Name: s.Name, Value: true}}
		if err := s.Undo(t.Context(), env, []byte(`{"value":false}`)); err != nil || w.Read(t, file) != "1 1" {
			t.Errorf("value %q, error %v; want it on still", w.Read(t, file), err)
		}
	})
	for _, tt := range []struct {
		name, mode, value string
		want              step.Result
	}{
		{"on before", "0", "1 1", step.Result{State: step.OK}},
		{"SELinux is off", "", "", step.Result{State: step.Skipped, Reason: "SELinux is off"}},
		{"no boolean", "1", "", step.Result{State: step.Skipped, Reason: "the SELinux policy has no boolean haproxy_connect_any"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := steptest.New(t)
			if tt.mode != "" {
				w.Write(t, "sys/fs/selinux/enforce", tt.mode, 0o644)
			}
			if tt.value != "" {
				w.Write(t, file, tt.value, 0o644)
			}
			for _, do := range []func(context.Context, *step.Env) (step.Result, error){s.Check, s.Apply} {
				if res, err := do(t.Context(), w.Env()); err != nil || res.State != tt.want.State || res.Reason != tt.want.Reason {
					t.Errorf("%+v, error %v; want %+v", res, err, tt.want)
				}
			}
			if err := s.Undo(t.Context(), w.Env(), []byte(`{"value":false}`)); tt.value == "" && (err != nil || len(w.Calls) > 0) {
				t.Errorf("undo: error %v, calls %q", err, w.Calls)
			}
		})
	}
	for _, bad := range []string{"", "-P", "a b", "../x"} {
		if (&step.SELinuxBoolean{Name: bad}).Validate() == nil {
			t.Errorf("accepts boolean %q", bad)
		}
	}
}
