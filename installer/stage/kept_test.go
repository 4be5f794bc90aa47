package stage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
	"github.com/offk8s/offk8s/manifests"
)

// observed returns the settings that facts find on a host with the files of a plan.
func observed(t *testing.T, in Input, host string) facts.Settings {
	t.Helper()
	w := steptest.New(t)
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		return step.Output{}, &step.NotFoundError{Name: c.Argv[0]}
	}
	for _, f := range []string{"/etc/os-release", "/proc/sys/kernel/osrelease", "/proc/sys/kernel/hostname", "/proc/meminfo"} {
		w.Write(t, f, "\n", 0o644)
	}
	for _, st := range Install().Stages {
		if !slices.Contains([]string{"controlplane", "node", "loadbalancer"}, st.Name) {
			continue
		}
		for _, it := range must(st.Steps(in, in.byName()[host])) {
			switch s := it.Step.(type) {
			case *step.File:
				if s.Content != "" {
					w.Write(t, s.Path, s.Content, 0o644)
				}
			case *step.Unit:
				if s.Content != "" {
					w.Write(t, "/etc/systemd/system/"+s.Name, s.Content, 0o644)
				}
			}
		}
	}
	f, err := facts.Collect(t.Context(), w.Env(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return f.Settings
}

// keptInput is a cluster with balancers that runs, and whose hosts show the settings that
// it was installed with.
func keptInput(t *testing.T, minor string) Input {
	t.Helper()
	in := balancedInput(t)
	in.Lock = testLock(t, embedded(t), minor, "flannel")
	in.Facts["node-1"] = testFacts(in.Cluster.Hosts[1], "debian", "12")
	members, _ := Members(in)
	for _, h := range in.Cluster.Hosts {
		f := in.Facts[h.Name]
		f.Settings = observed(t, in, h.Name)
		f.Installed = &facts.Installed{Cluster: in.Cluster.Name, Host: h.Name, Hosts: members, Time: time.Unix(1, 0)}
		for _, r := range h.Roles {
			f.Installed.Roles = append(f.Installed.Roles, string(r))
		}
		f.EtcdData = h.HasRole(manifests.RoleEtcd)
		in.Facts[h.Name] = f
	}
	return in
}

// Facts read the settings that the stages write.
func TestSettingsOfHosts(t *testing.T) {
	for _, minor := range []string{"1.16", "1.36"} {
		in := keptInput(t, minor)
		got := in.Facts["cp-1"].Settings
		want := facts.Settings{PodCIDR: in.Cluster.PodCIDR(), ServiceCIDR: in.Cluster.ServiceCIDR(), DNSDomain: "cluster.local", CgroupDriver: "systemd"}
		if got != want {
			t.Errorf("%s: control plane %+v, want %+v", minor, got, want)
		}
		if got, want := in.Facts["lb-1"].Settings, (facts.Settings{Balancer: "10.0.0.10:6443"}); got != want {
			t.Errorf("%s: balancer %+v, want %+v", minor, got, want)
		}
	}
}

// A cluster that runs is not changed into one that it cannot become.
func TestKept(t *testing.T) {
	swap := func(in *Input, a, b string) { // the addresses of cluster.yaml, and so the machines
		x := slices.IndexFunc(in.Cluster.Hosts, func(h manifests.Host) bool { return h.Name == a })
		y := slices.IndexFunc(in.Cluster.Hosts, func(h manifests.Host) bool { return h.Name == b })
		hosts := in.Cluster.Hosts
		hosts[x].Address, hosts[y].Address = hosts[y].Address, hosts[x].Address
		in.Facts[a], in.Facts[b] = in.Facts[b], in.Facts[a]
	}
	move := func(in *Input, host int, address string) {
		h := &in.Cluster.Hosts[host]
		f := in.Facts[h.Name]
		h.Address = address
		f.Addresses = testFacts(*h, "debian", "12").Addresses
		in.Facts[h.Name] = f
	}
	for _, tt := range []struct {
		name   string
		change func(in *Input)
		want   string // names and hosts of the checks that fail
		found  string
	}{
		{"nothing", func(*Input) {}, "", ""},
		{"the same ranges, written otherwise", func(in *Input) { in.Cluster.Network.PodCIDR = "10.244.0.0/16" }, "", ""},
		{"pods", func(in *Input) { in.Cluster.Network.PodCIDR = "10.200.0.0/16" }, "same-networks cp-1", "podCIDR 10.200.0.0/16"},
		{"services", func(in *Input) { in.Cluster.Network.ServiceCIDR = "10.97.0.0/16" }, "same-networks cp-1", "serviceCIDR 10.97.0.0/16"},
		{"domain", func(in *Input) { in.Cluster.Network.DNSDomain = "site.local" }, "same-networks cp-1, same-networks node-1, same-networks node-2", "dnsDomain"},
		{"cgroups", func(in *Input) { in.Cluster.Runtime.CgroupDriver = "cgroupfs" }, "same-cgroups cp-1, same-cgroups node-1, same-cgroups node-2", "cgroupfs"},
		{"no setting allows it", func(in *Input) {
			in.Cluster.Network.ServiceCIDR, in.Cluster.HostPrep.IgnorePreflight = "10.97.0.0/16", []string{"same-networks"}
		}, "same-networks cp-1", ""},
		{"addresses exchanged", func(in *Input) { swap(in, "node-1", "node-2") }, "same-host node-1, same-host node-2", `"node-2"`},
		{"a host renamed", func(in *Input) {
			in.Facts["w"] = in.Facts["node-2"]
			delete(in.Facts, "node-2")
			in.Cluster.Hosts[2].Name = "w"
		}, "same-host w", `"node-2"`},
		{"a name of an older journal", func(in *Input) { in.Facts["cp-1"].Installed.Host = "" }, "", ""},
		{"the name of the cluster", func(in *Input) {
			in.Cluster.Name, in.Cluster.HostPrep.IgnorePreflight = "other", []string{"other-cluster"}
		}, "other-cluster cp-1, other-cluster lb-1, other-cluster lb-2, other-cluster node-1, other-cluster node-2", ""},
		{"another address of a member", func(in *Input) { move(in, 2, "10.0.0.99") }, "same-address node-2", "10.0.0.13"},
		{"another address of a member that etcd knows", func(in *Input) {
			f := in.Facts["cp-1"]
			f.Installed.Hosts = nil
			f.Listening = []facts.Listener{{Protocol: "tcp", Port: 2379}}
			for _, h := range in.Cluster.Hosts[:3] {
				f.Etcd = append(f.Etcd, step.EtcdMember{Name: h.Name, PeerURLs: []string{etcdURL(h, etcdPeerPort)}, ClientURLs: []string{"x"}})
			}
			in.Facts["cp-1"] = f
			move(in, 2, "10.0.0.99")
		}, "same-address node-2", "10.0.0.13"},
		{"another address of a balancer", func(in *Input) { move(in, 3, "10.0.0.98") }, "", ""},
		{"another virtual address", func(in *Input) { in.Cluster.LoadBalancer.VIP = "10.0.0.30" }, "vip-stays lb-1, vip-stays lb-2", "10.0.0.10:6443"},
		{"another port", func(in *Input) { in.Cluster.LoadBalancer.Port = 7443 }, "vip-stays lb-1, vip-stays lb-2", "10.0.0.10:6443"},
		{"another virtual address, in an outage", func(in *Input) {
			in.Cluster.LoadBalancer.VIP, in.Cluster.HostPrep.IgnorePreflight = "10.0.0.30", []string{"vip-stays"}
		}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := keptInput(t, "1.36")
			tt.change(&in)
			var got []string
			found := ""
			for _, c := range Failed(preflight(in)) {
				got = append(got, c.Name+" "+c.Host)
				found += c.String() + "\n"
			}
			slices.Sort(got)
			if strings.Join(got, ", ") != tt.want || !strings.Contains(found, tt.found) {
				t.Errorf("%s, want %q with %q\n%s", strings.Join(got, ", "), tt.want, tt.found, found)
			}
		})
	}
}

// A new machine does not take a name while the former one of that name runs, and a host that
// runs is not forgotten.
func TestPredecessor(t *testing.T) {
	for _, tt := range []struct {
		name    string
		address string
		open    string // port of the former machine
		want    string
	}{
		{"the same address", "10.0.0.13", "10250", ""},
		{"another one, the former runs", "10.0.0.99", "10250", "predecessor node-2"},
		{"another one, its etcd runs", "10.0.0.99", "2379", "predecessor node-2"},
		{"another one, the former is off", "10.0.0.99", "", ""},
		{"forgotten, and it runs", "", "6443", "predecessor node-2"},
		{"forgotten, and it is off", "", "", ""},
	} {
		in := keptInput(t, "1.36")
		if in.Cluster.Hosts[2].Address = tt.address; tt.address != "" {
			in.Facts["node-2"] = testFacts(in.Cluster.Hosts[2], "debian", "12")
		} else {
			in.Cluster.Hosts = slices.Delete(in.Cluster.Hosts, 2, 3)
			in.Forget = map[string]bool{"node-2": true}
		}
		in.Answers = map[string][]probe.Answer{}
		for host, list := range Probes(in) {
			for _, p := range list {
				if p.Kind != probe.Dial {
					continue
				}
				a := probe.Answer{Probe: p, Error: "no route to host"}
				if p.Target == "10.0.0.13:"+tt.open {
					a.Error = ""
				}
				in.Answers[host] = append(in.Answers[host], a)
			}
		}
		if asked := len(in.Answers) > 0; asked != (tt.address != "10.0.0.13") || asked && len(in.Answers["cp-1"]) != 3 {
			t.Errorf("%s: asked %v", tt.name, in.Answers)
		}
		var got []string
		for _, c := range Failed(preflight(in)) {
			got = append(got, fmt.Sprint(c.Name, " ", c.Host))
		}
		if strings.Join(got, ", ") != tt.want {
			t.Errorf("%s: %v, want %q", tt.name, got, tt.want)
		}
	}
}
