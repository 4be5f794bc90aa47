package stage

import (
	"net"
	"slices"
	"time"

	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Alone describes a host that installs itself, without a machine that works on all hosts
// and knows when a stage has ended. The others do the same at any time: steps wait for
// what they need of them (step.Item.Awaits), and the host makes the observations of gates.
type Alone struct {
	Host string        // name; "" if one machine works on all hosts
	Wait time.Duration // how long a step waits for other hosts at least
}

// tokenLifetime is longer if hosts join when they like; the token is deleted when all
// have joined.
func (in Input) tokenLifetime() time.Duration {
	const most = 24 * time.Hour
	if in.Alone.Host == "" {
		return pki.TokenLifetime
	}
	return min(most, max(pki.TokenLifetime, 2*in.Alone.Wait))
}

// etcdAnswers waits until a member of etcd serves requests, with a quorum, on a control
// plane that is no member.
func etcdAnswers(in Input) *step.Wait {
	var urls []string
	for _, u := range in.etcdURLs() {
		urls = append(urls, u+"/health")
	}
	return &step.Wait{
		URL: urls[0], Or: urls[1:], Expect: `"health":"true"`, CAFile: kubePKI + "/etcd-ca.crt",
		CertFile: kubePKI + "/apiserver-etcd-client.crt", KeyFile: kubePKI + "/apiserver-etcd-client.key",
		Timeout: step.Duration(3 * time.Minute), Text: "etcd answers",
	}
}

// apiURLs returns the URLs of the API servers on control planes.
func (in Input) apiURLs(names []string) []string {
	var out []string
	for _, h := range leaders(in) {
		if slices.Contains(names, h.Name) {
			out = append(out, "https://"+net.JoinHostPort(h.Address, manifests.DefaultAPIPort))
		}
	}
	return out
}

// firstOthers returns the hosts without h that make the API ready for nodes: the balancers,
// and the first control plane, which sets up what one host does for all.
func (in Input) firstOthers(h manifests.Host) []string {
	planes := leaders(in)
	return others(slices.Concat(in.Cluster.HostsWith(manifests.RoleLoadBalancer), planes[:min(1, len(planes))]), h)
}

// observers returns the hosts of which one can make an observation. A host alone can only
// make it itself.
func (in Input) observers(hosts []manifests.Host) []string {
	names := hostNames(in.present(hosts))
	if in.Alone.Host == "" {
		return names
	}
	return slices.DeleteFunc(names, func(n string) bool { return n != in.Alone.Host })
}
