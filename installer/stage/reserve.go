package stage

import (
	"fmt"

	"github.com/offk8s/offk8s/manifests"
)

const gib = int64(1) << 30

// reserved returns the fields of KubeletConfiguration for the memory and processors that
// pods do not get, so that pods that take all they can do not starve the daemons: for
// kubelet and runtime a part of the memory that falls with its size, as managed clouds do,
// and for a control plane and etcd as much again as up to 1 GiB. Without facts there are none.
func reserved(in Input, h manifests.Host) table {
	// Whole GiB: a new kernel with a bit more or less for itself restarts no kubelet.
	memory := (in.Facts[h.Name].MemoryBytes + gib/2) / gib * gib
	if memory == 0 {
		return nil
	}
	kube, rest := int64(0), memory
	for _, part := range []struct{ size, percent int64 }{{4 * gib, 25}, {4 * gib, 20}, {8 * gib, 10}, {112 * gib, 6}, {rest, 2}} {
		n := min(rest, part.size)
		kube += n * part.percent / 100
		rest -= n
	}
	out := table{"kubeReserved": table{"cpu": "100m", "memory": fmt.Sprintf("%dMi", kube>>20)}}
	if h.HasRole(manifests.RoleControlPlane) || h.HasRole(manifests.RoleEtcd) {
		out["systemReserved"] = table{"memory": fmt.Sprintf("%dMi", min(gib, memory/4)>>20)}
	}
	return out
}
