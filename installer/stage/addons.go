package stage

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// addons returns the addons of the cluster, in the order of the bundle.
func (in Input) addons() []manifests.Addon {
	if in.Cluster.Addons == nil {
		return in.Lock.Addons
	}
	return slices.DeleteFunc(slices.Clone(in.Lock.Addons), func(a manifests.Addon) bool {
		return !slices.Contains(in.Cluster.Addons, a.Name)
	})
}

// missingAddons returns those of cluster.yaml that the bundle does not have.
func (in Input) missingAddons() []string {
	return slices.DeleteFunc(slices.Clone(in.Cluster.Addons), func(name string) bool {
		return slices.ContainsFunc(in.Lock.Addons, func(a manifests.Addon) bool { return a.Name == name })
	})
}

// localDNS is the address of the DNS cache on each node, which every other node has too.
const localDNS = "169.254.20.10"

// localDNS returns the addresses on which the cache listens. It takes over that of the
// cluster DNS, so that pods use it without another setting. Only in the iptables mode of
// kube-proxy it can, since in others the address is on the node, or belongs to kube-proxy.
func (in Input) localDNS(clusterDNS string) []string {
	if in.Cluster.ProxyMode() == "iptables" && !in.usesIPVS() {
		return []string{localDNS, clusterDNS}
	}
	return []string{localDNS}
}

// podDNS returns the name server of pods.
func (in Input) podDNS(clusterDNS string) string {
	for _, a := range in.addons() {
		if a.Release.NodeDNS && !slices.Contains(in.localDNS(clusterDNS), clusterDNS) {
			return localDNS
		}
	}
	return clusterDNS
}

// peer returns the URL at which a host answers for images of other nodes, or "". As long as
// no pod answers there, containerd goes on to the mirrors.
func (in Input) peer(h manifests.Host) string {
	for _, a := range in.addons() {
		if a.Release.PeerPort != 0 {
			return "http://" + net.JoinHostPort(h.Address, strconv.Itoa(a.Release.PeerPort))
		}
	}
	return ""
}

// addonSteps returns the steps that apply the addons and then wait for the pods of each. The prune
// stage deletes the objects of an addon that is no longer wanted.
func addonSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "addons"}
	if !h.HasRole(manifests.RoleControlPlane) {
		return l.done()
	}
	for _, a := range in.addons() {
		objects, err := addonObjects(in, a)
		if err != nil {
			l.fail(fmt.Errorf("addon %s: %w", a.Name, err))
			continue
		}
		// Not the name alone, which may be that of the pod network.
		l.add(a.Name, &kube.Apply{Objects: objects, Text: "addon " + a.Name})
		l.rollout(in, a.Name+"-pods", objects, nil)
	}
	return l.done()
}

func addonObjects(in Input, a manifests.Addon) ([]json.RawMessage, error) {
	if a.Release.Literal {
		return splitObjects(a.Release.Objects)
	}
	return renderObjects(in, a.Release.Objects, a.Release.Images)
}
