package stage

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/offk8s/offk8s/manifests"
)

// Port is a port, or a protocol without ports, that firewalls have to let through. From and
// To have names of hosts, or one of Operator, Users and the address of a mirror.
type Port struct {
	From []string `json:"from"` // names of hosts, operator, or users
	To   []string `json:"to"`   // names of hosts, or the address of a mirror
	Port string   `json:"port"` // "6443/tcp", "30000-32767/udp", "vrrp"
	Use  string   `json:"use"`
}

// Who connects to hosts of a cluster from elsewhere.
const (
	Operator = "operator" // the machine that runs install
	Users    = "users"    // of the cluster and its services
)

// Ports are those of a cluster, of the operator's machine first and of its users last.
type Ports struct {
	Hosts []Address `json:"hosts"`
	Ports []Port    `json:"ports"`
}

// Address is where the others reach a host.
type Address struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// NewPorts returns the ports of the cluster.
func NewPorts(in Input) Ports {
	c := in.Cluster
	var out Ports
	all := hostNames(c.Hosts)
	for _, h := range c.Hosts {
		out.Hosts = append(out.Hosts, Address{h.Name, h.Address})
		out.add([]string{Operator}, h.Name, strconv.Itoa(cmp.Or(h.SSH.Port, c.SSH.Port, 22))+"/tcp", "SSH")
	}
	for _, m := range in.mirrorTargets() {
		if address, port, err := net.SplitHostPort(m); err == nil {
			out.add(all, address, port+"/tcp", "mirror")
		}
	}
	for _, w := range in.ways() {
		from := slices.DeleteFunc(slices.Clone(c.Hosts), func(h manifests.Host) bool { return !w.from(h) })
		out.add(hostNames(from), w.to.Name, portName(w.protocol, w.port), w.use)
	}
	front, port := c.HostsWith(manifests.RoleControlPlane), manifests.DefaultAPIPort
	if c.Balancing() == manifests.BalanceHosts {
		front, port = c.HostsWith(manifests.RoleLoadBalancer), c.BalancerPort()
	}
	for _, h := range front {
		out.add([]string{Users}, h.Name, port+"/tcp", "API")
	}
	for _, protocol := range []string{"tcp", "udp"} {
		for _, h := range c.Nodes() {
			out.add([]string{Users}, h.Name, c.NodePorts()+"/"+protocol, "services with node ports")
		}
	}
	return out
}

// add adds a host to those that the same others need to reach at the same port. A host
// alone needs no port.
func (p *Ports) add(from []string, to, port, use string) {
	if len(from) == 0 || len(from) == 1 && from[0] == to {
		return
	}
	i := slices.IndexFunc(p.Ports, func(x Port) bool { return x.Port == port && x.Use == use && slices.Equal(x.From, from) })
	if i < 0 {
		p.Ports = append(p.Ports, Port{From: from, Port: port, Use: use})
		i = len(p.Ports) - 1
	}
	p.Ports[i].To = append(p.Ports[i].To, to)
}

// WriteText writes two tables: the ports, and the addresses of the hosts.
func (p Ports) WriteText(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "PORT\tUSE\tFROM\tTO")
	for _, x := range p.Ports {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", x.Port, x.Use, strings.Join(x.From, ", "), strings.Join(x.To, ", "))
	}
	err := tw.Flush()
	fmt.Fprintln(tw, "\nHOST\tADDRESS")
	for _, h := range p.Hosts {
		fmt.Fprintf(tw, "%s\t%s\n", h.Name, h.Address)
	}
	return errors.Join(err, tw.Flush())
}
