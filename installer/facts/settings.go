package facts

import (
	"encoding/json"
	"net"
	"net/netip"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
)

// Settings are those of a cluster that runs which cannot change later, or not without an
// outage, as the files that offk8s has written on the host have them. A field is empty if the
// host has no such file.
type Settings struct {
	PodCIDR      string `json:"podCIDR,omitempty"`
	ServiceCIDR  string `json:"serviceCIDR,omitempty"`
	DNSDomain    string `json:"dnsDomain,omitempty"`
	CgroupDriver string `json:"cgroupDriver,omitempty"`
	// Balancer is the virtual address and the port of the balancers, "10.0.0.10:6443".
	Balancer string `json:"balancer,omitempty"`
}

// settings reads files that the stages of installer/stage write.
func settings(env *step.Env) Settings {
	var s Settings
	for f := range strings.FieldsSeq(read(env, "/etc/systemd/system/kube-controller-manager.service")) {
		switch name, value, _ := strings.Cut(f, "="); name {
		case "--cluster-cidr":
			s.PodCIDR = value
		case "--service-cluster-ip-range":
			s.ServiceCIDR = value
		}
	}
	var kubelet struct {
		ClusterDomain string `json:"clusterDomain"`
		CgroupDriver  string `json:"cgroupDriver"`
	}
	if json.Unmarshal([]byte(read(env, "/etc/kubernetes/kubelet.json")), &kubelet) == nil { // else nobody knows
		s.DNSDomain, s.CgroupDriver = kubelet.ClusterDomain, kubelet.CgroupDriver
	}
	vip, err := netip.ParsePrefix(after(read(env, "/etc/keepalived/keepalived.conf"), "virtual_ipaddress", "{"))
	port, ours := strings.CutPrefix(after(read(env, "/etc/haproxy/haproxy.cfg"), "api", "bind"), ":")
	if err == nil && ours {
		s.Balancer = net.JoinHostPort(vip.Addr().String(), port)
	}
	return s
}

// after returns the word of a text that follows these two, "" if there is none.
func after(text, first, second string) string {
	words := strings.Fields(text)
	for i := range words {
		if i > 1 && words[i-2] == first && words[i-1] == second {
			return words[i]
		}
	}
	return ""
}
