package stage

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/manifests"
)

func TestReserved(t *testing.T) {
	worker, plane := []manifests.Role{manifests.RoleWorker}, []manifests.Role{manifests.RoleControlPlane}
	for _, tt := range []struct {
		memory int64 // MiB
		roles  []manifests.Role
		kube   string
		system string
	}{
		{0, worker, "", ""},
		{970, worker, "256Mi", ""},
		{1980, plane, "512Mi", "512Mi"},
		{3950, plane, "1024Mi", "1024Mi"},
		{7960, worker, "1843Mi", ""},
		{8200, worker, "1843Mi", ""}, // as with another kernel
		{64 << 10, []manifests.Role{manifests.RoleEtcd, manifests.RoleWorker}, "5611Mi", "1024Mi"},
		{256 << 10, worker, "12165Mi", ""},
	} {
		h := manifests.Host{Name: "a", Roles: tt.roles}
		in := Input{Facts: map[string]facts.Facts{"a": {MemoryBytes: tt.memory << 20}}}
		var want table
		if tt.kube != "" {
			want = table{"kubeReserved": table{"cpu": "100m", "memory": tt.kube}}
		}
		if tt.system != "" {
			want["systemReserved"] = table{"memory": tt.system}
		}
		if diff := cmp.Diff(want, reserved(in, h)); diff != "" {
			t.Errorf("%d MiB, %v: -want +got:\n%s", tt.memory, tt.roles, diff)
		}
	}
}
