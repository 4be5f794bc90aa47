package stage

import (
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/manifests"
)

// Probes returns what hosts have to be asked before the checks, by host.
func Probes(in Input) map[string][]probe.Probe {
	out := map[string][]probe.Probe{}
	for host, list := range in.vipProbes() {
		out[host] = list
	}
	for host, list := range in.predecessorProbes() {
		out[host] = append(out[host], list...)
	}
	for _, h := range in.Cluster.HostsWith(manifests.RoleEtcd) {
		// Not in every run: it takes seconds.
		if f, ok := in.Facts[h.Name]; ok && (in.Thorough || !installed(in, f)) {
			out[h.Name] = append(out[h.Name], probe.Probe{Kind: probe.Sync, Path: etcdData})
		}
	}
	return out
}
