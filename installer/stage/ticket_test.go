package stage_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
)

// withTickets returns a cluster whose hosts install themselves: cp-1 and cp-2, with etcd
// there and on node-1, and a worker.
func withTickets(t *testing.T) stage.Input {
	t.Helper()
	in := stage.TestInput(t, "1.36")
	in.Cluster.Hosts[2] = manifests.Host{Name: "cp-2", Address: "10.0.0.13", Roles: []manifests.Role{manifests.RoleControlPlane, manifests.RoleEtcd}}
	in.Cluster.Hosts = append(in.Cluster.Hosts, manifests.Host{Name: "w-1", Address: "10.0.0.14", Roles: []manifests.Role{manifests.RoleWorker}})
	in.Facts["cp-2"], in.Facts["w-1"] = in.Facts["node-2"], in.Facts["node-2"]
	return in
}

// A ticket has the secrets of its host, and no key of an authority that no daemon there
// needs.
func TestTicketHasTheSecretsOfItsHostAlone(t *testing.T) {
	plan, err := installer.NewPlan(withTickets(t), stage.Install())
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]string{}
	for _, h := range []string{"cp-1", "cp-2", "node-1", "w-1"} {
		values, err := plan.Secrets(h, func(ref string) ([]byte, error) { return []byte(ref), nil })
		if err != nil {
			t.Fatal(err)
		}
		for ref := range values {
			secrets[h] = append(secrets[h], ref)
		}
		slices.Sort(secrets[h])
	}
	want := []string{pki.RefBootstrapKubeconfig, pki.KubeconfigRef("kube-proxy-w-1"), pki.CARef(pki.Kubernetes)}
	slices.Sort(want)
	if diff := cmp.Diff(want, secrets["w-1"]); diff != "" {
		t.Errorf("secrets of the worker (-want +got):\n%s", diff)
	}
	for host, refs := range secrets {
		for _, other := range []string{"cp-1", "cp-2", "node-1", "w-1"} {
			for _, ref := range refs {
				if other != host && strings.Contains(ref, other) {
					t.Errorf("%s has a secret of %s: %s", host, other, ref)
				}
			}
		}
		if has, first := slices.Contains(refs, pki.RefToken), host == "cp-1"; has != first {
			t.Errorf("%s has the bootstrap token: %t, want %t", host, has, first)
		}
	}
	if !slices.Contains(secrets["cp-2"], pki.CAKeyRef(pki.Kubernetes)) {
		t.Error("the controller manager of cp-2 signs with the key of the authority")
	}
	for _, ca := range []pki.CA{pki.Etcd, pki.FrontProxy} {
		if slices.Contains(secrets["cp-1"], pki.CAKeyRef(ca)) {
			t.Errorf("no daemon needs the key of the %s authority", ca)
		}
	}
}

// Each host that installs itself has its own part of the plan, waits for the hosts that it
// needs, and makes the observations of gates itself.
func TestAloneGolden(t *testing.T) {
	for name, change := range map[string]func(*stage.Input){
		"first": func(*stage.Input) {},
		"running": func(in *stage.Input) {
			*in = running(*in)
			in.Cluster.Etcd.Args = map[string]string{"quota-backend-bytes": "4294967296"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for _, h := range []string{"cp-1", "cp-2", "node-1", "w-1"} {
				in := withTickets(t)
				in.Cluster.Hosts[2].Roles = in.Cluster.Hosts[2].Roles[:1] // no etcd there
				change(&in)
				in.Alone = stage.Alone{Host: h, Wait: 30 * time.Minute}
				in.Facts = map[string]facts.Facts{h: in.Facts[h]}
				p, err := installer.NewPlan(in, stage.Install())
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "%s\n%s\n", h, awaits(p))
			}
			stage.Golden(t, "alone-"+name+".txt", b.String())
		})
	}
}

// awaits is a plan without the steps that wait for nobody.
func awaits(p *installer.Plan) string {
	var b strings.Builder
	for _, st := range p.Stages {
		for _, h := range st.Hosts {
			fmt.Fprintf(&b, "  %s: %d steps\n", st.Name, len(h.Items))
			gates(&b, "before", h.Before)
			for _, it := range h.Items {
				if len(it.Awaits) > 0 {
					fmt.Fprintf(&b, "    %s: for %s\n", it.Step.Describe(), strings.Join(it.Awaits, ", "))
				}
			}
			gates(&b, "after", h.After)
		}
	}
	return b.String()
}

// A host alone takes nobody out of the cluster.
func TestAloneRefusesHostsThatLeave(t *testing.T) {
	in := running(withTickets(t))
	in.Cluster.Hosts = in.Cluster.Hosts[:3]
	in.Alone.Host = "cp-1"
	_, err := installer.Judge(in)
	if err == nil || !strings.Contains(err.Error(), "w-1") || !strings.Contains(err.Error(), "over SSH") {
		t.Errorf("error %v, want the check that names w-1", err)
	}
}
