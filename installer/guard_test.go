package installer_test

import (
	"errors"
	"testing"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
)

// Guard names every host that another state directory was used for.
func TestGuard(t *testing.T) {
	in := stage.Input{
		Cluster: &manifests.Cluster{Name: "prod", Hosts: []manifests.Host{{Name: "a"}, {Name: "b"}, {Name: "new"}, {Name: "foreign"}}},
		Lock:    &manifests.Lock{Kubernetes: "1.36.3"},
		Facts: map[string]facts.Facts{
			"a":       {Installed: &facts.Installed{Cluster: "prod", Identity: "sha256:aa", Components: map[string]string{"kubernetes": "1.36.3"}}},
			"b":       {Installed: &facts.Installed{Cluster: "prod", Identity: "sha256:aa", Components: map[string]string{"kubernetes": "1.36.2"}}},
			"foreign": {Installed: &facts.Installed{Cluster: "other", Identity: "sha256:cc"}},
		},
	}
	hosts := func(err error, target error) (out []string) {
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok {
			return nil
		}
		for _, e := range joined.Unwrap() {
			if h, ok := errors.AsType[*installer.HostError](e); ok && errors.Is(e, target) {
				out = append(out, h.Host)
			}
		}
		return out
	}
	if got := hosts(installer.Guard(in, ""), agent.ErrIdentity); len(got) != 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("without credentials: %v are refused, want a and b", got)
	}
	if got := hosts(installer.Guard(in, "sha256:aa"), agent.ErrUpgrade); len(got) != 1 || got[0] != "b" {
		t.Errorf("another version: %v are refused, want b", got)
	}
	in.Lock.Kubernetes = "1.36.2"
	delete(in.Facts, "a")
	if err := installer.Guard(in, "sha256:aa"); err != nil {
		t.Error(err)
	}
}
