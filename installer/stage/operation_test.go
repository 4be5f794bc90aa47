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
		for _, port := range []int{2379, 6443, 10250} {
			if port != 6443 || h.HasRole(manifests.RoleControlPlane) {
				f.Listening = append(f.Listening, facts.Listener{Protocol: "tcp", Port: port})
			}
		}
		f.Etcd, f.EtcdData = etcd, true
		in.Facts[h.Name] = f
	}
	return in
}

// The stages of an install with their order and gates, on the first day and on others.
// The steps of the stages that take hosts in and out are there too.
func TestOperationGolden(t *testing.T) {
	fresh := func(in stage.Input, host string) {
		f := in.Facts[host]
		f.Installed, f.Listening, f.Etcd, f.EtcdData = nil, nil, nil, false
		in.Facts[host] = f
	}
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

// outline is a plan without the steps that every plan has.
func outline(p *installer.Plan) string {
	var b strings.Builder
	show := []string{"drain", "etcdleave", "nodegone"}
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
