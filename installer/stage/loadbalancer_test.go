package stage

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/test/testenv"
)

// sixHosts is a cluster of two balancers of different families, three
// control planes with etcd and a worker.
func sixHosts(t *testing.T, minor string) Input {
	t.Helper()
	in := testInput(t, minor)
	rpm := in.Facts["node-1"].OS
	in.Cluster.LoadBalancer = manifests.LoadBalancer{VIP: "10.0.0.10"}
	in.Cluster.Hosts, in.Facts = nil, map[string]facts.Facts{}
	for i, x := range []struct {
		name  string
		roles []manifests.Role
	}{
		{"lb-1", []manifests.Role{manifests.RoleLoadBalancer}},
		{"lb-2", []manifests.Role{manifests.RoleLoadBalancer}},
		{"cp-1", []manifests.Role{manifests.RoleControlPlane, manifests.RoleEtcd}},
		{"cp-2", []manifests.Role{manifests.RoleControlPlane, manifests.RoleEtcd}},
		{"cp-3", []manifests.Role{manifests.RoleControlPlane, manifests.RoleEtcd}},
		{"node-1", []manifests.Role{manifests.RoleWorker}},
	} {
		h := manifests.Host{Name: x.name, Address: fmt.Sprintf("10.0.0.%d", 11+i), Roles: x.roles}
		in.Cluster.Hosts = append(in.Cluster.Hosts, h)
		f := testFacts(h, "debian", "12")
		if i%2 == 1 {
			f = testFacts(h, rpm.ID, rpm.Version)
		}
		in.Facts[h.Name] = f
	}
	return in
}

func TestBalancedGolden(t *testing.T) {
	for _, minor := range []string{"1.16", "1.36"} {
		in := sixHosts(t, minor)
		var words, files strings.Builder
		for it := range plan(t, in) {
			balancer := it.host.HasRole(manifests.RoleLoadBalancer)
			if balancer || it.stage == "access" || strings.HasSuffix(it.ID, "/endpoint") {
				fmt.Fprintf(&words, "%-7s %-40s %s\n", it.host.Name, it.ID, it.Step.Describe())
			}
			if balancer && it.stage == "loadbalancer" {
				writeFile(&files, it.host.Name, it.Step)
			}
		}
		golden(t, "balanced-plan-"+minor+".txt", words.String())
		golden(t, "balanced-files-"+minor+".txt", files.String())
	}
}

// file returns the content of a file that the loadbalancer stage writes on the host.
func balancerFile(t *testing.T, in Input, host, path string) string {
	t.Helper()
	for _, it := range steps(t, in, "loadbalancer", host) {
		if f, ok := it.Step.(*step.File); ok && f.Path == path {
			return f.Content
		}
	}
	t.Fatalf("%s writes no %s", host, path)
	return ""
}

// keepalived accepts the configuration, with the included secret.
func TestKeepalivedAccepts(t *testing.T) {
	testenv.NeedTool(t, "keepalived", "unshare", "ip")
	testenv.NeedRoot(t) // it looks for the interface and at the owner of the script
	for name, change := range map[string]func(*Input){
		"two": func(*Input) {},
		"one": func(in *Input) { in.Cluster.Hosts = slices.Delete(in.Cluster.Hosts, 1, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			in := sixHosts(t, "1.36")
			change(&in)
			conf := balancerFile(t, in, "lb-1", keepalivedCfg)
			secret, script := filepath.Join(dir, "vrrp.conf"), filepath.Join(dir, "alive")
			conf = strings.NewReplacer(keepalivedSecret, secret, keepalivedScript, script).Replace(conf)
			file := filepath.Join(dir, "keepalived.conf")
			write := func(path, content string, mode os.FileMode) {
				t.Helper()
				if err := os.WriteFile(path, []byte(content), mode); err != nil {
					t.Fatal(err)
				}
			}
			write(file, conf, 0o600)
			write(secret, "authentication {\n    auth_type PASS\n    auth_pass abcdefgh\n}\n", 0o600)
			write(script, aliveScript, 0o700)
			const run = `ip link add eth0 type veth peer name eth1 && ip addr add 10.0.0.11/24 dev eth0 && ip link set eth0 up && exec keepalived -t -l -f "$0"`
			out, err := exec.CommandContext(t.Context(), "unshare", "--net", "sh", "-c", run, file).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("keepalived -t: %v\n%s\n%s", err, out, conf)
			}
		})
	}
}

// The balancer that has the address has the last turn, and the one that does not run
// the first. Before one that runs changes, another has to serve.
func TestBalancersTurn(t *testing.T) {
	in := sixHosts(t, "1.36")
	if n := balancersAtATime(in); n != 0 {
		t.Errorf("first installation: %d at a time", n)
	}
	runs := func(host string, vip bool) {
		f := in.Facts[host]
		f.Installed = &facts.Installed{Cluster: in.Cluster.Name}
		f.Listening = append(f.Listening, facts.Listener{Protocol: "tcp", Port: 6443})
		if vip {
			f.Addresses = append(f.Addresses, facts.Address{Interface: "eth0", Prefix: netip.MustParsePrefix("10.0.0.10/24")})
		}
		in.Facts[host] = f
	}
	runs("lb-1", true)
	runs("cp-1", false)
	if got := hostNames(balancers(in)); !slices.Equal(got, []string{"lb-2", "lb-1"}) {
		t.Errorf("order %v", got)
	}
	if n := balancersAtATime(in); n != 1 {
		t.Errorf("%d at a time", n)
	}
	lb1, lb2 := in.Cluster.Hosts[0], in.Cluster.Hosts[1]
	if g := balancerBefore(in, lb2); g != nil {
		t.Errorf("a balancer that does not run waits for %v", g)
	}
	if g := balancerBefore(in, lb1); len(g) != 1 || !slices.Equal(g[0].On, []string{"lb-2"}) {
		t.Errorf("before: %v", g)
	}
	if g := balancerAfter(in, lb2); len(g) != 1 || !slices.Equal(g[0].On, []string{"lb-2"}) {
		t.Errorf("after: %v", g)
	}
}

// A bundle without the packages of balancers is refused before a host is changed.
func TestBundleWithoutBalancers(t *testing.T) {
	for name, change := range map[string]func(*Input){
		"packed by an older version": func(in *Input) {
			for name, d := range in.Lock.DistroData {
				d.RolePackages = nil
				in.Lock.DistroData[name] = d
			}
			in.Lock.Artifacts = slices.DeleteFunc(in.Lock.Artifacts, func(a manifests.Artifact) bool { return a.Name == "haproxy" })
		},
		"other architecture": func(in *Input) {
			in.Lock.Artifacts = slices.DeleteFunc(in.Lock.Artifacts, func(a manifests.Artifact) bool { return a.Name == "haproxy" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := sixHosts(t, "1.36")
			if bad := Failed(completeness(in)); len(bad) > 0 {
				t.Fatalf("complete bundle: %v", bad)
			}
			change(&in)
			text := fmt.Sprint(Failed(completeness(in)))
			for _, want := range []string{"no haproxy for debian-12 (linux/amd64), no haproxy for rocky-9", "offk8s pack"} {
				if !strings.Contains(text, want) {
					t.Errorf("%s, want %q", text, want)
				}
			}
		})
	}
}

// Nodes check an external balancer as they do those of the cluster, and nothing that the
// balancers need is on any host.
func TestExternalBalancer(t *testing.T) {
	in := sixHosts(t, "1.36")
	in.Cluster.Hosts = in.Cluster.Hosts[2:]
	in.Cluster.LoadBalancer = manifests.LoadBalancer{Mode: manifests.BalanceExternal}
	in.Cluster.ControlPlane.Endpoint = "api.example.com:443"
	in.Away = map[string]bool{"cp-3": true}
	for _, host := range []string{"cp-1", "node-1"} {
		e, ok := steps(t, in, "node", host)["endpoint"].Step.(*step.Endpoint)
		if !ok || e.Address != "api.example.com:443" || !slices.Equal(e.Servers, []string{"10.0.0.13:6443", "10.0.0.14:6443"}) || e.Any {
			t.Errorf("%s: %+v", host, e)
		}
		if n := len(steps(t, in, "loadbalancer", host)); n > 0 {
			t.Errorf("%s: %d steps for balancers", host, n)
		}
	}
	in.Cluster.HostPrep.IgnorePreflight = []string{"endpoint"}
	if e := steps(t, in, "node", "node-1")["endpoint"].Step.(*step.Endpoint); !e.Any {
		t.Error("hostPreparation.ignorePreflight has no effect")
	}
	in.Cluster.LoadBalancer.Mode = manifests.BalanceNodeLocal
	if _, ok := steps(t, in, "node", "node-1")["endpoint"]; ok {
		t.Error("a node with a proxy waits for a balancer")
	}
}
