package stage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

const proxyCfg = kubeDir + "/kube-proxy.json"

// proxyKernel is the oldest kernel of a mode of kube-proxy, which does not start on an
// older one (pkg/proxy/nftables/supported.go of Kubernetes 1.36).
var proxyKernel = map[string]string{manifests.ProxyNFTables: "5.13"}

// runsKubeProxy reports whether nodes run kube-proxy.
func (in Input) runsKubeProxy() bool {
	n, err := in.network()
	return err != nil || !n.ReplacesKubeProxy // the steps report the error
}

// kubeProxy adds the steps that start kube-proxy, unless the pod network replaces it.
func (l *list) kubeProxy(in Input, h manifests.Host) {
	if !in.runsKubeProxy() {
		return
	}
	l.programs(in, h, "kube-proxy")
	config, err := proxyConfig(in, h)
	l.fail(err)
	l.add("kube-proxy-config", &step.File{Path: proxyCfg, Content: config, Mode: 0o600})
	l.add("kube-proxy-unit", kubeProxy(in).step(proxyCfg, proxyConf))
	l.add("kube-proxy-healthy", &step.Wait{URL: "http://127.0.0.1:10256/healthz", Text: "kube-proxy has its rules"})
}

func kubeProxy(in Input) daemon {
	return daemon{
		name: "kube-proxy", about: "kube-proxy, the Services of Kubernetes", after: []string{"kubelet.service"},
		flags: mergeFlags(in, "kube-proxy", flags{"config": proxyCfg}, in.Cluster.Proxy.Args),
	}
}

func proxyConfig(in Input, h manifests.Host) (string, error) {
	common := table{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"bindAddress": h.Address, "hostnameOverride": h.Name,
		"clientConnection":   table{"kubeconfig": proxyConf},
		"clusterCIDR":        in.Cluster.PodCIDR(),
		"mode":               in.Cluster.ProxyMode(),
		"healthzBindAddress": "0.0.0.0:10256",
		"metricsBindAddress": "127.0.0.1:10249",
	}
	if gate := in.Lock.Release.ProxyModes[in.Cluster.ProxyMode()]; gate != "" {
		common["featureGates"] = table{gate: true}
	}
	return jsonConfig(merge(common, in.Cluster.Proxy.Config))
}

// proxyModules returns the kernel modules without which the proxy of services does not
// start in its mode, and those that only some kernels need.
func proxyModules(in Input, h manifests.Host) (names, optional []string) {
	switch {
	case in.usesIPVS():
		names = []string{"ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_sh"}
		if v, ok := kernelVersion(in.Facts[h.Name]); ok && v.Compare(catalog.Version{Major: 4, Minor: 19}) < 0 {
			optional = []string{"nf_conntrack_ipv4"} // part of nf_conntrack later
		}
	case in.runsKubeProxy() && in.Cluster.ProxyMode() == manifests.ProxyNFTables:
		names = []string{"nf_tables"}
	}
	return names, optional
}

// ProxyModules returns the kernel modules that the facts of hosts have to look for.
func ProxyModules(in Input) []string {
	if in.Lock == nil {
		return nil
	}
	names, _ := proxyModules(in, manifests.Host{})
	return names
}

// usesIPVS reports whether the proxy of services uses IPVS.
func (in Input) usesIPVS() bool {
	n, err := in.network()
	return err == nil && n.IPVS || in.runsKubeProxy() && in.Cluster.ProxyMode() == manifests.ProxyIPVS
}

// proxyRole is the role in rolePackages of a distribution for the proxy of services,
// "kube-proxy-ipvs".
func (in Input) proxyRole() string {
	if in.usesIPVS() {
		return "kube-proxy-" + manifests.ProxyIPVS
	}
	return "kube-proxy-" + in.Cluster.ProxyMode()
}

// checkProxyKernel checks the version and the modules of a node's kernel.
func checkProxyKernel(c *checks, in Input, h manifests.Host, f facts.Facts) {
	needed, _ := proxyModules(in, h)
	lacks := slices.DeleteFunc(slices.Clone(needed), func(n string) bool { return !slices.Contains(f.NoModules, n) })
	mode := in.Cluster.ProxyMode()
	check := Check{Name: "proxy-kernel", Found: f.Kernel, Want: strings.Join(needed, ", ") + " for kube-proxy in mode " + mode}
	check.Hint = "set network.proxyMode: iptables, or install another kernel"
	if !in.runsKubeProxy() {
		check.Want = strings.Join(needed, ", ") + " for the proxy of services of " + in.Lock.CNI
		check.Hint = "pack the bundle with another pod network, or install another kernel"
	}
	if len(lacks) > 0 {
		check.Found += " without " + strings.Join(lacks, ", ")
	}
	old := false
	if oldest := proxyKernel[mode]; oldest != "" {
		want, _ := catalog.ParseVersion(oldest)
		v, ok := kernelVersion(f)
		old = ok && v.Compare(want) < 0
		check.Want = oldest + " or newer with " + check.Want
	}
	c.require(!old && len(lacks) == 0, check)
}

// kernelVersion returns the major and minor version of a host's kernel.
func kernelVersion(f facts.Facts) (catalog.Version, bool) {
	parts := strings.FieldsFunc(f.Kernel, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) < 2 {
		return catalog.Version{}, false
	}
	v, err := catalog.ParseVersion(parts[0] + "." + parts[1])
	return v, err == nil
}

// checkProxy checks that a node's kernel has what the proxy of services needs in its mode,
// and that the bundle has its packages for the node.
func checkProxy(c *checks, in Input, h manifests.Host, f facts.Facts) {
	mode := in.Cluster.ProxyMode()
	if !h.IsNode() || !in.usesIPVS() && mode == manifests.ProxyIPTables {
		return
	}
	checkProxyKernel(c, in, h, f)
	d, err := in.distro(h)
	if err != nil {
		return // another check reports it
	}
	needed := in.Lock.DistroData[d.Name].RolePackages[in.proxyRole()]
	missing := slices.DeleteFunc(slices.Clone(needed), func(n string) bool { return in.hasPackage(d.Name, h, n) })
	check := Check{Name: "proxy-packages", Found: "all packages", Want: "the packages of " + in.proxyRole() + " for " + d.Name}
	switch {
	case len(needed) == 0:
		check.Found = "none in the bundle"
		check.Hint = fmt.Sprintf("pack the bundle with this version of offk8s, or with rolePackages %s of %s in --catalog", in.proxyRole(), d.Name)
	case len(missing) > 0:
		check.Found = "no " + strings.Join(missing, ", ")
		check.Hint = "pack the bundle again"
	}
	c.require(len(needed) > 0 && len(missing) == 0, check)
}
