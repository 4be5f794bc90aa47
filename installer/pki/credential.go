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

// CAs lists the authorities of a cluster.
func CAs() []CA { return []CA{Kubernetes, Etcd, FrontProxy} }

// Usage is what a certificate is good for.
type Usage string

// The usages.
const (
	Server Usage = "server"
	Client Usage = "client"
	Peer   Usage = "peer" // both
)

// Credential is one certificate with its key, as it shall be.
type Credential struct {
	Name          string   `json:"name"`
	CA            CA       `json:"ca"`
	CommonName    string   `json:"commonName"`
	Organizations []string `json:"organizations,omitempty"`
	DNS           []string `json:"dns,omitempty"` // sorted
	IPs           []string `json:"ips,omitempty"` // sorted
	Usage         Usage    `json:"usage"`
	// Server is the API's URL in the credential's kubeconfig; empty when it has none.
	Server string `json:"server,omitempty"`
}

// Names of credentials that exist once; the others end in "-" and a host's name.
const Admin = "admin"

// Name of the credential kind on one host: Name("etcd-server", h).
func Name(kind string, h manifests.Host) string { return kind + "-" + h.Name }

// Credentials returns every certificate of the cluster, in a fixed order. Keys
// are made for one host each; only Admin is the operator's own.
func Credentials(c *manifests.Cluster) ([]Credential, error) {
	server, err := apiServer(c)
	if err != nil {
		return nil, err
	}
	var out []Credential
	for _, h := range c.HostsWith(manifests.RoleEtcd) {
		out = append(out, etcdCredentials(h)...)
	}
	for _, h := range c.HostsWith(manifests.RoleControlPlane) {
		out = append(out, controlPlaneCredentials(h, server)...)
	}
	endpoint := "https://" + c.Endpoint()
	for _, h := range c.Nodes() {
		out = append(out, Credential{
			Name: Name("kube-proxy", h), CA: Kubernetes, CommonName: "system:kube-proxy",
			Organizations: []string{"system:node-proxier"}, Usage: Client, Server: endpoint,
		})
	}
	return append(out, Credential{
		Name: Admin, CA: Kubernetes, CommonName: "kubernetes-admin",
		Organizations: []string{"system:masters"}, Usage: Client, Server: endpoint,
	}), nil
}

func etcdCredentials(h manifests.Host) []Credential {
	dns, ips := hostSANs(h)
	return []Credential{
		// etcd's own gateway dials its server with the server's certificate, hence Peer.
		{Name: Name("etcd-server", h), CA: Etcd, CommonName: h.Name, DNS: dns, IPs: ips, Usage: Peer},
		{Name: Name("etcd-peer", h), CA: Etcd, CommonName: h.Name, DNS: dns, IPs: ips, Usage: Peer},
		{Name: Name("etcd-client", h), CA: Etcd, CommonName: "etcdctl", Usage: Client},
	}
}

func controlPlaneCredentials(h manifests.Host, server Credential) []Credential {
	server.Name = Name("apiserver", h)
	local := "https://" + net.JoinHostPort(h.Address, manifests.DefaultAPIPort)
	return []Credential{
		server,
		{Name: Name("apiserver-etcd-client", h), CA: Etcd, CommonName: "kube-apiserver-etcd-client", Usage: Client},
		{Name: Name("apiserver-kubelet-client", h), CA: Kubernetes, CommonName: KubeletClient, Usage: Client},
		{Name: Name("front-proxy-client", h), CA: FrontProxy, CommonName: FrontProxyClient, Usage: Client},
		{
			Name: Name("controller-manager", h), CA: Kubernetes, CommonName: "system:kube-controller-manager",
			Usage: Client, Server: local,
		},
		{Name: Name("scheduler", h), CA: Kubernetes, CommonName: "system:kube-scheduler", Usage: Client, Server: local},
		{
			Name: Name(Admin, h), CA: Kubernetes, CommonName: "kubernetes-admin",
			Organizations: []string{"system:masters"}, Usage: Client, Server: local,
		},
	}
}

// Common names that the API server or RBAC objects name.
const (
	KubeletClient    = "kube-apiserver-kubelet-client"
	FrontProxyClient = "front-proxy-client"
)

// apiServer is the serving certificate of every control plane: all names and
// addresses under which the API is dialled.
func apiServer(c *manifests.Cluster) (Credential, error) {
	first, err := c.ServiceIP(1)
	if err != nil {
		return Credential{}, err
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
		return Credential{}, fmt.Errorf("control plane endpoint %q: %w", c.Endpoint(), err)
	}
	sans = append(append(sans, host), c.ControlPlane.SANs...)
	dns, ips := split(sans)
	return Credential{CA: Kubernetes, CommonName: "kube-apiserver", DNS: dns, IPs: ips, Usage: Server}, nil
}

func hostSANs(h manifests.Host) (dns, ips []string) {
	return split([]string{h.Name, h.Address, "localhost", "127.0.0.1"})
}

// split sorts names and addresses apart; each list is sorted and without repeats.
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
