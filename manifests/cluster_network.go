package manifests

import (
	"maps"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/manifests/strict"
)

// Modes of kube-proxy.
const (
	ProxyIPTables = "iptables"
	ProxyIPVS     = "ipvs"
	ProxyNFTables = "nftables"
)

// IsolateNamespaces is the value of network.isolation.
const IsolateNamespaces = "namespaces"

// proxyModes are the modes of kube-proxy that a Release without a list has.
var proxyModes = []string{ProxyIPTables, ProxyIPVS}

// CheckNetwork returns the problems of network in c that only the bundle of lock shows:
// options that its pod network does not have, and a mode of kube-proxy that its Kubernetes
// does not have.
func (c *Cluster) CheckNetwork(lock *Lock) []strict.Problem {
	ck := &strict.Checks{}
	var settings map[string]any
	settings, ck.Problems = lock.CNIRelease.Settings(c.Network.Options)
	network, err := lock.CNIRelease.With(settings)
	if err != nil && len(ck.Problems) == 0 {
		ck.Add("network.options", "%v", err)
	}
	modes := proxyModes
	if len(lock.Release.ProxyModes) > 0 {
		modes = slices.Sorted(maps.Keys(lock.Release.ProxyModes))
	}
	switch mode := c.ProxyMode(); {
	case !slices.Contains(modes, mode):
		ck.Add("network.proxyMode", "kube-proxy of Kubernetes %s has no mode %s, want one of %s", lock.Kubernetes, mode, strings.Join(modes, ", "))
	case network.ReplacesKubeProxy && mode != defaultProxyMode:
		ck.Add("network.proxyMode", "there is no kube-proxy with the pod network %s, which is the proxy of services too", lock.CNI)
	}
	if c.Network.Isolation != "" && !lock.CNIRelease.Policies {
		ck.AddHint("network.isolation", "pack a bundle with --cni and one of "+strings.Join(policyNetworks(lock.Minor), ", "),
			"the pod network %s of the bundle does not enforce NetworkPolicy", lock.CNI)
	}
	return ck.Problems
}

// policyNetworks returns the pod networks of the catalog that enforce NetworkPolicy.
func policyNetworks(minor string) []string {
	cat, err := catalog.Embedded()
	if err != nil {
		return nil // this list is only a hint
	}
	var out []string
	for _, name := range cat.CNINames() {
		n, err := cat.CNI(name)
		if r, none := n.For(minor); err == nil && none == nil && r.Policies {
			out = append(out, name)
		}
	}
	return out
}

// ClusterError returns an error with the problems of a cluster.yaml at their lines, nil
// if there are none; name and data are those of LoadCluster.
func ClusterError(name string, data []byte, problems []strict.Problem) error {
	d := strict.New(name, APIVersion, KindCluster)
	d.Decode(data, &Cluster{})
	d.Report(problems)
	return d.Err()
}
