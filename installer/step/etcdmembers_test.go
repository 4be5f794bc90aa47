package step_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// A member may restart only if enough of the others serve requests.
func TestEtcdQuorum(t *testing.T) {
	members := []string{"https://10.0.0.12:2379", "https://10.0.0.13:2379"}
	for _, tt := range []struct {
		name    string
		healthy []string
		need    int
		holds   bool
	}{
		{"both", members, 2, true},
		{"one of two", members[:1], 2, false},
		{"one of two is enough", members[:1], 1, true},
		{"none", nil, 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := steptest.New(t)
			w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
				i := slices.Index(c.Argv, "--endpoints")
				if !slices.Contains(c.Env, "ETCDCTL_API=3") || !strings.HasSuffix(strings.Join(c.Argv, " "), "endpoint health") {
					t.Errorf("called %q %q", c.Env, c.Argv)
				}
				if i >= 0 && slices.Contains(tt.healthy, c.Argv[i+1]) {
					return steptest.Say("is healthy")
				}
				return steptest.Exit(c.Argv, 1, "unhealthy cluster")
			}
			q := &step.EtcdQuorum{EtcdClient: etcdClient, Members: members, Need: tt.need}
			if err := q.Validate(); err != nil {
				t.Fatal(err)
			}
			res, err := q.Check(t.Context(), w.Env())
			if err != nil || (res.State == step.Verified) != tt.holds {
				t.Errorf("check: %+v, error %v; want it to hold: %t", res, err, tt.holds)
			}
		})
	}
	if (&step.EtcdQuorum{EtcdClient: etcdClient, Members: members, Need: 3}).Validate() == nil {
		t.Error("three of two members are accepted")
	}
}
