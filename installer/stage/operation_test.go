package stage_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// running makes the hosts of in a cluster that was installed and runs, with three
// members of etcd.
func running(in stage.Input) stage.Input {
	members, _ := stage.Members(stage.Input{Cluster: in.Cluster})
	var etcd []step.EtcdMember
	for i, h := range in.Cluster.HostsWith(manifests.RoleEtcd) {
		etcd = append(etcd, step.EtcdMember{
			ID: uint64(i + 1), Name: h.Name, PeerURLs: []string{"https://" + h.Address + ":2380"}, ClientURLs: []string{"https://" + h.Address + ":2379"},
		})
	}
	in.Facts = maps.Clone(in.Facts)
	for _, h := range in.Cluster.Hosts {
		f := in.Facts[h.Name]
		f.Installed = &facts.Installed{Cluster: in.Cluster.Name, Host: h.Name, Hosts: members, Time: time.Unix(1, 0)}
		for _, l := range []struct {
			port int
			on   bool
		}{{2379, h.HasRole(manifests.RoleEtcd)}, {6443, h.HasRole(manifests.RoleControlPlane) || h.HasRole(manifests.RoleLoadBalancer)}, {10250, h.IsNode()}} {
			if l.on {
				f.Listening = append(f.Listening, facts.Listener{Protocol: "tcp", Port: l.port})
			}
		}
		if h.HasRole(manifests.RoleEtcd) {
			f.Etcd, f.EtcdData = etcd, true
		}
		in.Facts[h.Name] = f
	}
	return in
}

// fresh makes a host one that offk8s has never seen.
func fresh(in stage.Input, hosts ...string) {
	for _, h := range hosts {
		f := in.Facts[h]
		f.Installed, f.Listening, f.Etcd, f.EtcdData = nil, nil, nil, false
		in.Facts[h] = f
	}
}

// The stages of an install with their order and gates, on the first day and on others.
// The steps of the stages that take hosts in and out are there too.
func TestOperationGolden(t *testing.T) {
	for name, change := range map[string]func(in *stage.Input){
		"first": func(*stage.Input) {},
		"arguments": func(in *stage.Input) {
			*in = running(*in)
			in.Cluster.Etcd.Args = map[string]string{"quota-backend-bytes": "4294967296"}
		},
		"removal": func(in *stage.Input) {
			*in = running(*in)
			in.Cluster.Hosts = in.Cluster.Hosts[:2]
			in.Away = map[string]bool{}
		},
		"forgotten": func(in *stage.Input) {
			*in = running(*in)
			in.Cluster.Hosts = in.Cluster.Hosts[:2]
			in.Away, in.Forget = map[string]bool{"node-2": true}, map[string]bool{"node-2": true}
		},
		"roles": func(in *stage.Input) {
			*in = running(*in)
			in.Cluster.Hosts[2].Roles = []manifests.Role{manifests.RoleEtcd}
		},
		"replacement": func(in *stage.Input) {
			*in = running(*in)
			fresh(*in, "node-2")
		},
		"away": func(in *stage.Input) {
			*in = running(*in)
			in.Away = map[string]bool{"node-2": true}
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := stage.TestInput(t, "1.36")
			change(&in)
			p, err := installer.NewPlan(in, stage.Install())
			if err != nil {
				t.Fatal(err)
			}
			stage.Golden(t, "operation-"+name+".txt", outline(p))
		})
	}
}

// production is the plan of six hosts: two balancers, three control planes with etcd and
// a worker, of both families; the worker and a control plane are of the other architecture.
func production(t *testing.T, minor string) stage.Input {
	in := stage.TestInput(t, minor)
	in.Cluster.Hosts = nil
	in.Cluster.LoadBalancer = manifests.LoadBalancer{VIP: "10.0.0.10"}
	stage.BothArches(in.Lock)
	rpm := map[string]string{"1.16": "centos 7", "1.36": "rocky 9.4"}[minor]
	for _, h := range []struct{ name, address, os, arch, roles string }{
		{"lb-1", "10.0.0.1", "debian 12", "amd64", "load-balancer"},
		{"lb-2", "10.0.0.2", rpm, "amd64", "load-balancer"},
		{"cp-1", "10.0.0.11", "debian 12", "amd64", "control-plane etcd"},
		{"cp-2", "10.0.0.12", rpm, "amd64", "control-plane etcd"},
		{"cp-3", "10.0.0.13", "debian 12", "arm64", "control-plane etcd"},
		{"w-1", "10.0.0.14", "debian 12", "arm64", "worker"},
	} {
		add(t, &in, h.name, h.address, h.roles)
		id, version, _ := strings.Cut(h.os, " ")
		f := in.Facts[h.name]
		f.OS.ID, f.OS.Version, f.OS.Name, f.Arch = id, version, h.os, h.arch
		in.Facts[h.name] = f
	}
	return in
}

// add adds a host that offk8s has never seen.
func add(t *testing.T, in *stage.Input, name, address, roles string) {
	t.Helper()
	h := manifests.Host{Name: name, Address: address}
	for _, r := range strings.Fields(roles) {
		h.Roles = append(h.Roles, manifests.Role(r))
	}
	in.Cluster.Hosts = append(in.Cluster.Hosts, h)
	in.Facts[name] = stage.DebianHost(h)
}

// without removes hosts from cluster.yaml.
func without(in *stage.Input, names ...string) {
	in.Cluster.Hosts = slices.DeleteFunc(slices.Clone(in.Cluster.Hosts), func(h manifests.Host) bool { return slices.Contains(names, h.Name) })
}

// roles gives a host of cluster.yaml other roles.
func roles(in *stage.Input, name string, now ...manifests.Role) {
	i := slices.IndexFunc(in.Cluster.Hosts, func(h manifests.Host) bool { return h.Name == name })
	in.Cluster.Hosts[i].Roles = now
}

// How a cluster of production begins, and how it becomes another one while it runs.
func TestShapeGolden(t *testing.T) {
	for name, change := range map[string]func(in *stage.Input){
		"six": func(*stage.Input) {},
		"one-to-three": func(in *stage.Input) {
			hosts := in.Cluster.Hosts
			in.Cluster.LoadBalancer = manifests.LoadBalancer{}
			without(in, "lb-1", "lb-2", "cp-2", "cp-3")
			*in = running(*in)
			in.Cluster.LoadBalancer.VIP, in.Cluster.Hosts = "10.0.0.10", hosts
		},
		"balancers-added": func(in *stage.Input) {
			hosts := in.Cluster.Hosts
			in.Cluster.LoadBalancer = manifests.LoadBalancer{Mode: manifests.BalanceNodeLocal}
			without(in, "lb-1", "lb-2")
			*in = running(*in)
			in.Cluster.LoadBalancer, in.Cluster.Hosts = manifests.LoadBalancer{VIP: "10.0.0.10"}, hosts
		},
		"balancer-replaced": func(in *stage.Input) {
			*in = running(*in)
			without(in, "lb-2")
			add(t, in, "lb-3", "10.0.0.3", "load-balancer")
		},
		"balancer-new-machine": func(in *stage.Input) {
			*in = running(*in)
			fresh(*in, "lb-2")
		},
		"etcd-moved": func(in *stage.Input) {
			*in = running(*in)
			for _, cp := range []string{"cp-1", "cp-2", "cp-3"} {
				roles(in, cp, manifests.RoleControlPlane)
			}
			for i, e := range []string{"etcd-1", "etcd-2", "etcd-3"} {
				add(t, in, e, fmt.Sprintf("10.0.0.%d", 21+i), "etcd")
			}
		},
		"etcd-replaced-dead": func(in *stage.Input) {
			*in = running(*in)
			roles(in, "cp-1", manifests.RoleControlPlane)
			f := in.Facts["cp-1"] // its etcd is down
			f.Listening, f.Etcd = f.Listening[1:], nil
			in.Facts["cp-1"] = f
			add(t, in, "etcd-1", "10.0.0.21", "etcd")
		},
		"control-plane-removed": func(in *stage.Input) {
			*in = running(*in)
			without(in, "cp-1")
			in.Cluster.TopologyReason = "cp-1 is broken"
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := production(t, "1.36")
			in.Cluster.Hosts = slices.Clone(in.Cluster.Hosts)
			change(&in)
			if failed := stage.Failed(stage.Leave(in)); len(failed) > 0 {
				t.Errorf("refused: %v", failed)
			}
			p, err := installer.NewPlan(in, stage.Install())
			if err != nil {
				t.Fatal(err)
			}
			stage.Golden(t, "operation-"+name+".txt", outline(p))
		})
	}
}

// outline is a plan without the steps that every plan has.
func outline(p *installer.Plan) string {
	var b strings.Builder
	show := []string{"etcdgone", "nodegone", "vip", "drain", "apileave", "etcdleave", "nodeleave", "close"}
	for _, st := range p.Stages {
		order := "together"
		switch {
		case st.AnyOf:
			order = "any of"
		case st.AtATime == 1:
			order = "one by one"
		case st.AtATime > 1:
			order = fmt.Sprintf("one, then %d at a time", st.AtATime)
		}
		fmt.Fprintf(&b, "%s (%s) %s\n", st.Name, order, st.Work)
		for _, h := range st.Hosts {
			optional := ""
			if h.Optional {
				optional = ", optional"
			}
			fmt.Fprintf(&b, "  %s: %d steps%s\n", h.Host, len(h.Items), optional)
			gates(&b, "before", h.Before)
			for _, it := range h.Items {
				if e, ok := it.Step.(*step.EtcdData); ok && !e.Started {
					fmt.Fprintf(&b, "    joins %t, learner %t\n", e.Join, e.Learner)
				}
				if slices.Contains(show, st.Name) {
					fmt.Fprintf(&b, "    %s\n", it.Step.Describe())
				}
			}
			gates(&b, "after", h.After)
		}
	}
	return b.String()
}

func gates(b *strings.Builder, when string, gates []stage.Gate) {
	for _, g := range gates {
		fmt.Fprintf(b, "    %s: %s (from %s)\n", when, g.Item.Step.Describe(), strings.Join(g.On, " or "))
	}
}
