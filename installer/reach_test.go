package installer_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
)

// Every host listens before any dials, and none does afterwards.
func TestReach(t *testing.T) {
	l := newLab(t, "cp-1", "node-1")
	l.cluster.Hosts[0].Roles = []manifests.Role{manifests.RoleControlPlane, manifests.RoleEtcd}
	l.hosts["cp-1"].addresses = []facts.Address{{Interface: "eth0", Prefix: netip.MustParsePrefix("10.0.0.1/24")}}
	l.hosts["node-1"].addresses = []facts.Address{{Interface: "eth0", Prefix: netip.MustParsePrefix("10.0.0.2/24")}}
	l.cluster.Network.ProxyMode = manifests.ProxyIPVS
	in, _, err := l.connect().Preflight(t.Context(), stage.Input{Cluster: l.cluster, Lock: &manifests.Lock{}})
	if _, ok := errors.AsType[*installer.PreflightError](err); !ok { // the lock of this test supports nothing
		t.Fatal(err)
	}
	for name, want := range map[string]string{"cp-1": "listen probe listen", "node-1": "listen probe listen"} {
		h := l.hosts[name]
		h.mu.Lock()
		var modes []string
		for _, r := range h.requests {
			if lookedFor := slices.Contains(r.Modules, "ip_vs"); lookedFor != (r.Mode == agent.ModeFacts) {
				t.Errorf("%s: %s looks for the modules %v", name, r.Mode, r.Modules)
			}
			if r.Mode == agent.ModeListen || r.Mode == agent.ModeProbe && len(modes) > 0 {
				modes = append(modes, string(r.Mode))
			}
		}
		if got := strings.Join(modes, " "); got != want || h.sockets != 0 {
			t.Errorf("%s: requests %q, want %q; %d sockets are open", name, got, want, h.sockets)
		}
		h.mu.Unlock()
	}
	var dialled []string
	for _, a := range in.Answers["node-1"] {
		if a.Target != "" {
			dialled = append(dialled, a.Protocol+" "+a.Target)
		}
	}
	if got, want := strings.Join(dialled, ", "), "tcp 10.0.0.1:6443, udp 10.0.0.1:123"; got != want {
		t.Errorf("node-1 dials %q, want %q", got, want)
	}
}
