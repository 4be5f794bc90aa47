package installer_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
)

// Doctor checks the hosts that answer and says why others do not; checks of the cluster
// come first, those of a host together. Install's checks are among them.
func TestDoctor(t *testing.T) {
	l := newLab(t, "cp-1", "node-1")
	f, err := installer.Connect(t.Context(), l.cluster, installer.ConnectOptions{
		Partial: true, Binary: l.binary(),
		Dial: func(_ context.Context, h manifests.Host) (host.Host, error) {
			if h.Name == "cp-1" {
				return nil, errors.New("no route to host")
			}
			return l.hosts[h.Name], nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	in := stage.Input{Cluster: l.cluster, Lock: &manifests.Lock{}, Root: digest.FromString("root")}
	_, install, err := f.Preflight(t.Context(), in)
	if err == nil {
		t.Fatal("the lock of this test supports nothing, and install has no error")
	}
	got, err := f.Doctor(t.Context(), in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(install)+2 {
		t.Errorf("%d checks, install has %d and there are 2 connections", len(got), len(install))
	}
	hosts := []string{}
	for _, c := range got {
		hosts = append(hosts, c.Host)
	}
	if hosts = slices.Compact(hosts); !slices.Equal(hosts, []string{"", "cp-1", "node-1"}) {
		t.Errorf("order of hosts %q", hosts)
	}
	for host, want := range map[string]stage.Verdict{"cp-1": stage.Fail, "node-1": stage.Pass} {
		i := slices.IndexFunc(got, func(c stage.Check) bool { return c.Host == host && c.Name == "connection" })
		if i < 0 || got[i].Verdict != want {
			t.Errorf("connection of %s: want %s, checks %v", host, want, got)
		}
	}
}
