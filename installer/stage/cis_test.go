package stage

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// cisHost is what the rules of the CIS Kubernetes Benchmark look at on one host.
type cisHost struct {
	flags   map[string]map[string]string // by program
	files   map[string]string            // "0600 root:root" by path, directories too
	kubelet table
	proxy   table
}

func cisHostOf(t *testing.T, in Input, name string) cisHost {
	t.Helper()
	h := cisHost{flags: map[string]map[string]string{}, files: map[string]string{}}
	put := func(path string, mode step.Mode, owner, group string) {
		or := func(s string) string { return map[bool]string{true: "root", false: s}[s == ""] }
		h.files[path] = fmt.Sprintf("%s %s:%s", mode, or(owner), or(group))
	}
	for it := range plan(t, in) {
		if it.host.Name != name {
			continue
		}
		switch s := it.Step.(type) {
		case *step.Unit:
			h.flags[strings.TrimSuffix(s.Name, ".service")] = unitFlags(s.Content)
			put("/etc/systemd/system/"+s.Name, 0o600, "", "")
		case *step.Directory:
			put(s.Path, s.Mode, s.Owner, s.Group)
		case *step.File:
			put(s.Path, s.Mode, s.Owner, s.Group)
			if into := map[string]*table{kubeletCfg: &h.kubelet, proxyCfg: &h.proxy}[s.Path]; into != nil {
				if err := json.Unmarshal([]byte(s.Content), into); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return h
}

// cisRule is an automated rule, with the program on whose hosts it holds.
type cisRule struct {
	id, program string
	ok          func(cisHost) bool
}

func cisFlag(id, program, flag string, ok func(v string, set bool) bool) cisRule {
	return cisRule{id, program, func(h cisHost) bool {
		v, set := h.flags[program][flag]
		return ok(v, set)
	}}
}

func equals(want string) func(string, bool) bool {
	return func(v string, _ bool) bool { return v == want }
}

func lists(elem string) func(string, bool) bool {
	return func(v string, _ bool) bool { return slices.Contains(strings.Split(v, ","), elem) }
}

func not(ok func(string, bool) bool) func(string, bool) bool {
	return func(v string, set bool) bool { return !ok(v, set) }
}

func isSet(v string, set bool) bool { return set && v != "" }

func cisFile(id, program, file, want string) cisRule {
	return cisRule{id, program, func(h cisHost) bool { return h.files[file] == want }}
}

func cisKubelet(id string, want any, keys ...string) cisRule {
	return cisRule{id, "kubelet", func(h cisHost) bool {
		v := any(h.kubelet)
		for _, k := range keys {
			m, _ := v.(table)
			v = m[k]
		}
		return fmt.Sprint(v) == fmt.Sprint(want)
	}}
}

// cisRules are the automated rules for control plane, etcd and node, by the numbers of the
// benchmark 1.12. Those with another number in brackets are of 1.6, which is for 1.16.
func cisRules(minor int) []cisRule {
	const api, manager, sched = "kube-apiserver", "kube-controller-manager", "kube-scheduler"
	var out []cisRule
	for i, unit := range []string{api, manager, sched, "etcd"} {
		out = append(out, cisFile(fmt.Sprint("1.1.", 2*i+1, " to ", 2*i+2), unit, "/etc/systemd/system/"+unit+".service", "0600 root:root"))
	}
	for id, file := range map[string]string{"1.1.13": "admin.conf", "1.1.14": "super-admin.conf", "1.1.15": "scheduler.conf", "1.1.17": "controller-manager.conf"} {
		out = append(out, cisFile(id, api, kubeDir+"/"+file, "0600 root:root"))
	}
	for id, flags := range map[string]string{
		"1.2.4": "kubelet-client-certificate kubelet-client-key", "1.2.5": "kubelet-certificate-authority", "1.2.16": "audit-log-path",
		"1.2.22": "service-account-key-file", "1.2.23": "etcd-certfile etcd-keyfile", "1.2.24": "tls-cert-file tls-private-key-file",
		"1.2.25": "client-ca-file", "1.2.26": "etcd-cafile", "1.2.27": "encryption-provider-config", "3.2.1": "audit-policy-file",
	} {
		for f := range strings.FieldsSeq(flags) {
			out = append(out, cisFlag(id, api, f, isSet))
		}
	}
	for _, f := range []string{"token-auth-file", "basic-auth-file", "insecure-bind-address", "kubelet-https", "disable-admission-plugins"} {
		out = append(out, cisFlag("1.2.2, 1.2.12, 1.2.13 (1.2.2, 1.2.4, 1.2.18)", api, f, not(isSet)))
	}
	out = append(
		out,
		cisFile("1.1.11, 1.1.12", "etcd", etcdData, "0700 etcd:etcd"),
		cisRule{"1.1.19 to 1.1.21", "kubelet", func(h cisHost) bool {
			return h.files[kubePKI] == "0700 root:root" && !slices.ContainsFunc(slices.Collect(maps.Keys(h.files)), func(p string) bool {
				return path.Dir(p) == kubePKI && h.files[p] != "0600 root:root"
			})
		}},
		cisFlag("1.2.1", api, "anonymous-auth", equals("false")),
		cisFlag("1.2.6", api, "authorization-mode", not(lists("AlwaysAllow"))),
		cisFlag("1.2.7", api, "authorization-mode", lists("Node")), cisFlag("1.2.8", api, "authorization-mode", lists("RBAC")),
		cisFlag("1.2.10", api, "enable-admission-plugins", not(lists("AlwaysAdmit"))),
		cisFlag("1.2.14", api, "enable-admission-plugins", lists("NodeRestriction")),
		cisFlag("1.2.15", api, "profiling", equals("false")),
		cisFlag("1.2.17", api, "audit-log-maxage", equals("30")), cisFlag("1.2.18", api, "audit-log-maxbackup", equals("10")),
		cisFlag("1.2.19", api, "audit-log-maxsize", equals("100")),
		cisFlag("1.2.21", api, "service-account-lookup", not(equals("false"))),
		cisFlag("1.3.1", manager, "terminated-pod-gc-threshold", isSet), cisFlag("1.3.2", manager, "profiling", equals("false")),
		cisFlag("1.3.3", manager, "use-service-account-credentials", equals("true")),
		cisFlag("1.3.4", manager, "service-account-private-key-file", isSet), cisFlag("1.3.5", manager, "root-ca-file", isSet),
		cisFlag("1.3.6", manager, "feature-gates", not(lists("RotateKubeletServerCertificate=false"))),
		cisFlag("1.3.7", manager, "bind-address", equals("127.0.0.1")),
		cisFlag("1.4.1", sched, "profiling", equals("false")), cisFlag("1.4.2", sched, "bind-address", equals("127.0.0.1")),
		cisFlag("2.1", "etcd", "cert-file", isSet), cisFlag("2.1", "etcd", "key-file", isSet),
		cisFlag("2.2", "etcd", "client-cert-auth", equals("true")), cisFlag("2.3", "etcd", "auto-tls", not(equals("true"))),
		cisFlag("2.4", "etcd", "peer-cert-file", isSet), cisFlag("2.4", "etcd", "peer-key-file", isSet),
		cisFlag("2.5", "etcd", "peer-client-cert-auth", equals("true")), cisFlag("2.6", "etcd", "peer-auto-tls", not(equals("true"))),
		cisFlag("2.7", "etcd", "trusted-ca-file", isSet),
		cisFile("4.1.1, 4.1.2", "kubelet", "/etc/systemd/system/kubelet.service", "0600 root:root"),
		cisFile("4.1.3, 4.1.4", "kube-proxy", proxyConf, "0600 root:root"),
		cisFile("4.1.7, 4.1.8", "kubelet", kubeCA, "0600 root:root"),
		cisFile("4.1.9, 4.1.10", "kubelet", kubeletCfg, "0600 root:root"),
		cisKubelet("4.2.1", false, "authentication", "anonymous", "enabled"), cisKubelet("4.2.2", "Webhook", "authorization", "mode"),
		cisKubelet("4.2.3", kubeCA, "authentication", "x509", "clientCAFile"), cisKubelet("4.2.4", 0, "readOnlyPort"),
		cisKubelet("4.2.5", nil, "streamingConnectionIdleTimeout"), cisKubelet("4.2.6", nil, "makeIPTablesUtilChains"),
		cisKubelet("4.2.10", true, "rotateCertificates"), cisKubelet("(4.2.6)", true, "protectKernelDefaults"),
		cisRule{"4.3.1", "kube-proxy", func(h cisHost) bool { return h.proxy["metricsBindAddress"] == "127.0.0.1:10249" }},
	)
	if minor < 19 {
		out = append(out, cisFlag("(1.3.6)", manager, "feature-gates", equals("RotateKubeletServerCertificate=true")))
	}
	if minor < 20 {
		out = append(out, cisFlag("(1.2.19)", api, "insecure-port", equals("0")))
	}
	if minor >= 21 {
		out = append(out, cisFlag("1.2.3", api, "enable-admission-plugins", lists("DenyServiceExternalIPs")))
	}
	if minor >= 23 {
		out = append(out, cisFlag("5.2.2", api, "admission-control-config-file", equals(admission)))
	}
	if minor >= 25 {
		out = append(out, cisKubelet("4.2.14", true, "seccompDefault"))
	}
	if minor >= 32 {
		out = append(out, cisFlag("1.2.30", api, "service-account-extend-token-expiration", equals("false")))
	}
	return out
}

// A plan of every minor follows the rules on each host that has the program.
func TestT45CIS(t *testing.T) {
	for _, r := range embedded(t).Versions() {
		in := testInput(t, r.Minor)
		in.Cluster.Hosts = append(in.Cluster.Hosts, manifests.Host{
			Name: "cp-2", Address: "10.0.0.14", Roles: []manifests.Role{manifests.RoleControlPlane},
		})
		in.Facts["cp-2"] = testFacts(in.Cluster.Hosts[3], "debian", "12")
		checked := map[string]int{}
		for _, h := range in.Cluster.Hosts {
			host := cisHostOf(t, in, h.Name)
			for _, rule := range cisRules(number(t, r.Minor)) {
				if host.flags[rule.program] == nil {
					continue
				}
				checked[rule.program]++
				if !rule.ok(host) {
					t.Errorf("%s: %s: rule %s (%s)", r.Minor, h.Name, rule.id, rule.program)
				}
			}
		}
		for _, p := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kubelet", "kube-proxy"} {
			if checked[p] == 0 {
				t.Errorf("%s: no rule for %s", r.Minor, p)
			}
		}
	}
}

// The configuration for kube-bench names files that a plan writes, and two that programs make.
func TestKubeBenchPaths(t *testing.T) {
	data, err := os.ReadFile("../../docs/kube-bench.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var conf map[string]map[string]any
	if err := yaml.Unmarshal(data, &conf); err != nil {
		t.Fatal(err)
	}
	in := testInput(t, "1.36")
	known := cisHostOf(t, in, "cp-1").files
	known[kubeletConf] = ""
	found := 0
	leaves(table{"master": conf["master"], "etcd": conf["etcd"], "node": conf["node"]}, "", func(key, v string) {
		if _, ok := known[v]; strings.HasPrefix(v, "/") {
			found++
			if !ok {
				t.Errorf("%s: no step writes %s", key, v)
			}
		}
	})
	if found < 30 {
		t.Errorf("found %d paths", found)
	}
	for _, r := range embedded(t).Versions() {
		benchmark, _ := conf["version_mapping"][r.Minor].(string)
		if conf["target_mapping"][benchmark] == nil {
			t.Errorf("no benchmark for %s", r.Minor)
		}
	}
}
