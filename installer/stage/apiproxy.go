package stage

import (
	"net"

	"github.com/offk8s/offk8s/installer/apiproxy"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

const (
	apiProxyName   = "offk8s-apiproxy"
	apiProxyConfig = kubeDir + "/offk8s-apiproxy.json"
	apiProxyState  = "/var/lib/offk8s/apiproxy"
)

// apiProxy adds the steps for the proxy on a node that balances its connections to the
// API servers. It uses the credential of kube-proxy, which a node has before it joins and
// which may list endpoints. Its program is the offk8s of the bundle, as the approver's.
func (l *list) apiProxy(in Input, h manifests.Host) {
	if in.Cluster.Balancing() != manifests.BalanceNodeLocal {
		return
	}
	program, err := in.file(h, "offk8s")
	if err != nil {
		l.fail(err)
		return
	}
	c := apiproxy.Config{Listen: in.Cluster.NodeEndpoint(), Kubeconfig: proxyConf, Kept: apiProxyState + "/servers.json"}
	for _, cp := range leaders(in) {
		c.Servers = append(c.Servers, net.JoinHostPort(cp.Address, manifests.DefaultAPIPort))
	}
	config, err := jsonConfig(c)
	l.fail(err)
	l.program(program, apiProxyName)
	l.add(apiProxyName+"-state", &step.Directory{Path: apiProxyState, Mode: 0o700, Purge: true})
	l.add(apiProxyName+"-config", &step.File{Path: apiProxyConfig, Content: config, Mode: 0o600})
	l.add(apiProxyName+"-unit", apiProxyDaemon().step(apiProxyConfig, proxyConf)).
		Why = "kubelet and kube-proxy connect through it to an API server that is ready"
}

func apiProxyDaemon() daemon {
	return daemon{
		name: apiProxyName, command: "apiproxy", about: "proxy of the node to the Kubernetes API servers", kind: "notify",
		flags: flags{"config": apiProxyConfig},
		// A connection needs six file descriptors.
		service: append([]string{"LimitNOFILE=16384", lastToDie}, confined...),
	}
}
