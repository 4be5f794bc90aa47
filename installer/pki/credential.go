package pki

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/offk8s/offk8s/manifests"
)

// CA names a certificate authority.
type CA string

// The authorities of a cluster.
const (
	Kubernetes CA = "kubernetes"
	Etcd       CA = "etcd"
	FrontProxy CA = "front-proxy"
)

// authorities returns the authorities of a cluster.
func authorities() []CA { return []CA{Kubernetes, Etcd, FrontProxy} }

// usage is the purpose of a certificate.
type usage string

// The usages.
const (
	usageServer usage = "server"
	usageClient usage = "client"
	usagePeer   usage = "peer" // both
)

// credential describes a certificate with its key.
type credential struct {
	Name          string   `json:"name"`
	CA            CA       `json:"ca"`
	CommonName    string   `json:"commonName"`
	Organizations []string `json:"organizations,omitempty"`
	DNS           []string `json:"dns,omitempty"` // sorted
	IPs           []string `json:"ips,omitempty"` // sorted
	Usage         usage    `json:"usage"`
	// Server is the API's URL in the credential's kubeconfig; empty if it has none.
	Server string `json:"server,omitempty"`
}

// Admin is the name of the operator's credential. Only it and that of an external load
// balancer have no host.
const Admin = "admin"

// SuperAdmin is the kind of the credential of the steps on a control plane.
const SuperAdmin = "super-admin"

// superGroup has every right, whatever the access rules are.
const superGroup = "system:masters"

// Name returns the name of a host's credential: Name("etcd-server", h).
func Name(kind string, h manifests.Host) string { return kind + "-" + h.Name }

// credentialsOf returns all certificates of the cluster in a fixed order. No two
// hosts share a key.
func credentialsOf(c *manifests.Cluster) ([]credential, error) {
	server, err := apiServer(c)
	if err != nil {
		return nil, err
	}
	var out []credential
	for _, h := range c.HostsWith(manifests.RoleEtcd) {
		out = append(out, etcdCredentials(h)...)
	}
	for _, h := range c.HostsWith(manifests.RoleControlPlane) {
		out = append(out, controlPlaneCredentials(h, server)...)
	}
	health := credential{Name: "lb-health", CA: Kubernetes, CommonName: Health, Usage: usageClient}
	switch c.Balancing() {
	case manifests.BalanceExternal: // for the operator, who gives it to the balancer
		out = append(out, health)
	case manifests.BalanceHosts:
		for _, h := range c.HostsWith(manifests.RoleLoadBalancer) {
			health.Name = Name("lb-health", h)
			out = append(out, health)
		}
	}
	for _, h := range c.Nodes() {
		out = append(out, credential{
			Name: Name("kube-proxy", h), CA: Kubernetes, CommonName: "system:kube-proxy",
			Organizations: []string{"system:node-proxier"}, Usage: usageClient, Server: "https://" + c.NodeEndpoint(),
		})
	}
	return append(out, credential{
		Name: Admin, CA: Kubernetes, CommonName: "kubernetes-admin",
		Organizations: []string{AdminGroup}, Usage: usageClient, Server: "https://" + c.Endpoint(),
	}), nil
}

// etcdServer is the kind of the credential that every etcd member has.
const etcdServer = "etcd-server"

func etcdCredentials(h manifests.Host) []credential {
	dns, ips := hostSANs(h)
	return []credential{
		// etcd's gateway connects to its server with the server's certificate.
		{Name: Name(etcdServer, h), CA: Etcd, CommonName: h.Name, DNS: dns, IPs: ips, Usage: usagePeer},
		{Name: Name("etcd-peer", h), CA: Etcd, CommonName: h.Name, DNS: dns, IPs: ips, Usage: usagePeer},
		{Name: Name("etcd-client", h), CA: Etcd, CommonName: "etcdctl", Usage: usageClient},
	}
}

func controlPlaneCredentials(h manifests.Host, server credential) []credential {
	server.Name = Name("apiserver", h)
	local := "https://" + net.JoinHostPort(h.Address, manifests.DefaultAPIPort)
	return []credential{
		server,
		{Name: Name("apiserver-etcd-client", h), CA: Etcd, CommonName: "kube-apiserver-etcd-client", Usage: usageClient},
		{Name: Name("apiserver-kubelet-client", h), CA: Kubernetes, CommonName: KubeletClient, Usage: usageClient},
		{Name: Name("front-proxy-client", h), CA: FrontProxy, CommonName: FrontProxyClient, Usage: usageClient},
		{
			Name: Name("controller-manager", h), CA: Kubernetes, CommonName: "system:kube-controller-manager",
			Usage: usageClient, Server: local,
		},
		{Name: Name("scheduler", h), CA: Kubernetes, CommonName: "system:kube-scheduler", Usage: usageClient, Server: local},
		{Name: Name("approver", h), CA: Kubernetes, CommonName: Approver, Usage: usageClient, Server: local},
		{
			Name: Name(Admin, h), CA: Kubernetes, CommonName: "kubernetes-admin",
			Organizations: []string{AdminGroup}, Usage: usageClient, Server: local,
		},
		{
			Name: Name(SuperAdmin, h), CA: Kubernetes, CommonName: "kubernetes-super-admin",
			Organizations: []string{superGroup}, Usage: usageClient, Server: local,
		},
	}
}

// Common names and groups that the API server or RBAC objects name.
const (
	// AdminGroup is the group of administrators.
	AdminGroup       = "offk8s:cluster-admins"
	KubeletClient    = "kube-apiserver-kubelet-client"
	FrontProxyClient = "front-proxy-client"
	Approver         = "offk8s-approver"
	// Health is the user that may only ask API servers whether they are ready.
	Health = "offk8s:health"
)

// apiServer returns the serving certificate of every control plane, with all names
// and addresses of the API.
func apiServer(c *manifests.Cluster) (credential, error) {
	first, err := c.ServiceIP(1)
	if err != nil {
		return credential{}, err
	}
	sans := []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc." + c.DNSDomain(), "localhost", "127.0.0.1", first,
	}
	for _, h := range c.HostsWith(manifests.RoleControlPlane) {
		sans = append(sans, h.Name, h.Address)
	}
	host, _, err := net.SplitHostPort(c.Endpoint())
	if err != nil {
		return credential{}, fmt.Errorf("control plane endpoint %q: %w", c.Endpoint(), err)
	}
	sans = append(append(sans, host), c.ControlPlane.SANs...)
	if c.Balancing() == manifests.BalanceHosts {
		sans = append(sans, c.LoadBalancer.VIP) // the endpoint may be a name of it
	}
	dns, ips := split(sans)
	return credential{CA: Kubernetes, CommonName: "kube-apiserver", DNS: dns, IPs: ips, Usage: usageServer}, nil
}

func hostSANs(h manifests.Host) (dns, ips []string) {
	return split([]string{h.Name, h.Address, "localhost", "127.0.0.1"})
}

// split returns the names and the addresses of sans, each sorted and without duplicates.
func split(sans []string) (dns, ips []string) {
	for _, s := range sans {
		if a, err := netip.ParseAddr(s); err == nil {
			ips = append(ips, a.String())
		} else {
			dns = append(dns, s)
		}
	}
	slices.Sort(dns)
	slices.Sort(ips)
	return slices.Compact(dns), slices.Compact(ips)
}
