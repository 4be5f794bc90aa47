package stage

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/step"
)

// auditLevel returns the level of the first rule of the policy for a read of a resource.
func auditLevel(t *testing.T, user, group, resource string) string {
	t.Helper()
	var policy struct {
		Rules []struct {
			Level           string
			Users           []string
			UserGroups      []string `yaml:"userGroups"`
			Verbs           []string
			NonResourceURLs []string `yaml:"nonResourceURLs"`
			Resources       []struct {
				Group     string
				Resources []string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(auditRules), &policy); err != nil {
		t.Fatal(err)
	}
	for _, r := range policy.Rules {
		matches := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
		if len(r.NonResourceURLs) > 0 || !matches(r.Users, user) || !matches(r.UserGroups, group) || !matches(r.Verbs, "get") {
			continue
		}
		for _, x := range r.Resources {
			if slices.Contains(x.Resources, resource) {
				return r.Level
			}
		}
		if len(r.Resources) == 0 {
			return r.Level
		}
	}
	return ""
}

// Whoever reads Secrets is in the log, nodes and the controller manager too; the body of no
// request is.
func TestT45AuditPolicy(t *testing.T) {
	for _, tt := range []struct{ user, group, resource, want string }{
		{"system:node:a", "system:nodes", "secrets", "Metadata"},
		{"system:kube-controller-manager", "", "secrets", "Metadata"},
		{"alice", "", "secrets", "Metadata"},
		{"alice", "", "pods", "Metadata"},
		{"system:node:a", "system:nodes", "pods", "None"},
		{"system:kube-scheduler", "", "pods", "None"},
		{"alice", "", "leases", "None"},
	} {
		if got := auditLevel(t, tt.user, tt.group, tt.resource); got != tt.want {
			t.Errorf("%s reads %s: level %q, want %q", tt.user, tt.resource, got, tt.want)
		}
	}
	if strings.Contains(auditRules, "level: Request") {
		t.Error("the policy logs bodies, in which there may be secrets")
	}
	in := testInput(t, "1.36")
	if d := steps(t, in, "controlplane", "cp-1")["log"].Step.(*step.Directory); d.Mode != 0o700 {
		t.Errorf("the directory of the audit log has mode %s", d.Mode)
	}
}

// Pods that could take over their node are only for the cluster itself, from the first minor
// that has PodSecurity.
func TestPodSecurity(t *testing.T) {
	for minor, want := range map[string]string{"1.22": "", "1.23": "v1beta1", "1.24": "v1beta1", "1.25": "v1", "1.36": "v1"} {
		in := testInput(t, minor)
		it, set := steps(t, in, "controlplane", "cp-1")["admission"]
		flag := flagsIn(t, in, "controlplane", "cp-1", "kube-apiserver-unit")["admission-control-config-file"]
		if set != (want != "") || (flag == admission) != set {
			t.Errorf("%s: file %t, flag %q", minor, set, flag)
		}
		if !set {
			continue
		}
		var conf struct {
			Plugins []struct {
				Name          string
				Configuration struct {
					APIVersion string
					Defaults   map[string]string
					Exemptions struct{ Namespaces []string }
				}
			}
		}
		if err := json.Unmarshal([]byte(it.Step.(*step.File).Content), &conf); err != nil {
			t.Fatal(err)
		}
		p := conf.Plugins[0]
		if p.Name != "PodSecurity" || p.Configuration.APIVersion != "pod-security.admission.config.k8s.io/"+want || p.Configuration.Defaults["enforce"] != "baseline" {
			t.Errorf("%s: %+v", minor, p)
		}
		if diff := cmp.Diff([]string{"kube-system", "kube-flannel"}, p.Configuration.Exemptions.Namespaces); diff != "" {
			t.Errorf("%s: exempt: -want +got:\n%s", minor, diff)
		}
		unit := steps(t, in, "controlplane", "cp-1")["kube-apiserver-unit"].Step.(*step.Unit)
		if !slices.Contains(unit.Triggers, admission) {
			t.Errorf("%s: another file restarts no API server", minor)
		}
	}
}

// Connections move to another API server only where there is one.
func TestGoaway(t *testing.T) {
	for minor, want := range map[string]string{"1.17": "", "1.18": "0.001", "1.36": "0.001"} {
		if got := flagsIn(t, sixHosts(t, minor), "controlplane", "cp-1", "kube-apiserver-unit")["goaway-chance"]; got != want {
			t.Errorf("%s: three control planes: %q, want %q", minor, got, want)
		}
		if got := flagsIn(t, testInput(t, minor), "controlplane", "cp-1", "kube-apiserver-unit")["goaway-chance"]; got != "" {
			t.Errorf("%s: one control plane: %q", minor, got)
		}
	}
	in := testInput(t, "1.36")
	in.Cluster.APIServer.Args = map[string]string{"goaway-chance": "0.01"}
	if got := flagsIn(t, in, "controlplane", "cp-1", "kube-apiserver-unit")["goaway-chance"]; got != "0.01" {
		t.Errorf("cluster.yaml sets 0.01, the unit has %q", got)
	}
}

// Kubelets refuse to start with other settings of the kernel only if offk8s makes these.
func TestProtectKernelDefaults(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Input)
		want   string
	}{
		{"default", func(*Input) {}, "true"},
		{"skipped", func(in *Input) { in.Cluster.HostPrep.Skip = []string{"sysctl"} }, "false"},
		{"another value", func(in *Input) { in.Cluster.HostPrep.Sysctls = map[string]string{"kernel/panic": "60"} }, "false"},
		{"the same value", func(in *Input) { in.Cluster.HostPrep.Sysctls = map[string]string{"kernel.panic": "10"} }, "true"},
		{"another setting", func(in *Input) { in.Cluster.HostPrep.Sysctls = map[string]string{"vm.max_map_count": "262144"} }, "true"},
	} {
		in := testInput(t, "1.36")
		tt.change(&in)
		if cfg := steps(t, in, "node", "node-1")["kubelet-config"].Step.(*step.File).Content; !strings.Contains(cfg, `"protectKernelDefaults": `+tt.want) {
			t.Errorf("%s: want %s in %s", tt.name, tt.want, cfg)
		}
	}
	set := steps(t, testInput(t, "1.36"), "host", "node-1")["sysctl"].Step.(*step.Sysctl).Values
	for k, v := range kernelDefaults {
		if set[k] != v {
			t.Errorf("%s = %q, want %s", k, set[k], v)
		}
	}
}

// etcd runs as a user that reads its credentials and writes its data, and nothing else; a
// member that ran as root gets its files before it starts.
func TestEtcdUser(t *testing.T) {
	for _, minor := range []string{"1.16", "1.36"} {
		in := testInput(t, minor)
		for id, it := range steps(t, in, "pki", "node-1") {
			f, ok := it.Step.(*step.File)
			if !ok || !strings.HasPrefix(f.Path, etcdPKI) {
				continue
			}
			owner := etcdUser
			if strings.Contains(f.Path, "/client.") {
				owner = ""
			}
			if f.Mode != 0o600 || f.Owner != owner || f.Group != owner {
				t.Errorf("%s: %s has mode %s, owner %q, group %q", minor, id, f.Mode, f.Owner, f.Group)
			}
		}
		unit := steps(t, in, "etcd", "node-1")["unit"].Step.(*step.Unit).Content
		for _, want := range []string{"\nUser=etcd\n", "\nPermissionsStartOnly=yes\n", "\nExecStartPre=/bin/chown -R etcd:etcd /var/lib/etcd\n"} {
			if !strings.Contains(unit, want) {
				t.Errorf("%s: no %q in\n%s", minor, want, unit)
			}
		}
	}
}
