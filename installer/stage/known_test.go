package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// known is testdata/known.yaml, which test/known reads from the sources of Kubernetes and
// etcd: names by topic and minor.
type known map[string]map[int]map[string]bool

func readKnown(t *testing.T) known {
	t.Helper()
	data, err := os.ReadFile("testdata/known.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]map[string][]string // topic → "1.16-1.19 1.21-1.21" → names
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	out := known{}
	for topic, groups := range file {
		out[topic] = map[int]map[string]bool{anyMinor: {}}
		for ranges, names := range groups {
			for r := range strings.FieldsSeq(ranges) {
				first, last, _ := strings.Cut(r, "-")
				for m := number(t, first); m <= number(t, last); m++ {
					out.add(topic, m, names)
				}
			}
		}
	}
	return out
}

// anyMinor is the key of the names that at least one minor knows.
const anyMinor = -1

func (k known) add(topic string, minor int, names []string) {
	if k[topic][minor] == nil {
		k[topic][minor] = map[string]bool{}
	}
	for _, n := range names {
		k[topic][minor][n], k[topic][anyMinor][n] = true, true
	}
}

// number returns 36 for "1.36".
func number(t *testing.T, minor string) int {
	t.Helper()
	v, err := catalog.ParseVersion(minor)
	if err != nil {
		t.Fatal(err)
	}
	return v.Minor
}

// lacks returns the first part of a path that the minor does not know, for a topic that
// lists only names that some minors do not know.
func (k known) lacks(topic string, minor int, path string) string {
	for i, c := range path + "." {
		if c == '.' && k[topic][anyMinor][path[:i]] && !k[topic][minor][path[:i]] {
			return path[:i]
		}
	}
	return ""
}

// unknown checks plans of one minor and collects the names that its programs do not know.
type unknown struct {
	known
	minor, etcd int
	found       map[string]bool
	// checked counts the names looked at, by topic: a check of nothing would pass.
	checked map[string]int
}

func (u *unknown) report(format string, args ...any) { u.found[fmt.Sprintf(format, args...)] = true }

func (u *unknown) unit(s *step.Unit) {
	name := strings.TrimSuffix(s.Name, ".service")
	minor := u.minor
	if name == "etcd" {
		minor = u.etcd
	}
	if u.known[name] == nil {
		return
	}
	for flag := range unitFlags(s.Content) {
		u.checked[name]++
		if !u.known[name][minor][flag] {
			u.report("%s: flag --%s", name, flag)
		}
	}
}

// config checks a configuration file with a kind.
func (u *unknown) config(content string) {
	var o table
	if yaml.Unmarshal([]byte(content), &o) != nil {
		return
	}
	kind, _ := o["kind"].(string)
	if u.known[kind] == nil {
		return
	}
	for _, p := range fieldPaths(o, "") {
		u.checked[kind]++
		if !insideOfMap(p) && !u.known[kind][u.minor][p] {
			u.report("%s: field %s", kind, p)
		}
	}
}

// insideOfMap reports whether a field is a key that the user of a map chooses.
func insideOfMap(path string) bool {
	head, _, inside := strings.Cut(path, ".")
	return inside && slices.Contains([]string{"evictionHard", "evictionSoft", "featureGates", "systemReserved", "kubeReserved"}, head)
}

func (u *unknown) object(raw json.RawMessage) {
	var o table
	if err := json.Unmarshal(raw, &o); err != nil {
		u.report("object: %v", err)
		return
	}
	kind, _ := o["kind"].(string)
	u.checked["kinds"]++
	if gvk := fmt.Sprint(o["apiVersion"], " ", kind); !u.known["kinds"][u.minor][gvk] {
		u.report("object %s", gvk)
	}
	u.fields(kind, o)
}

// fields checks the fields of an object, and those of a pod template in it.
func (u *unknown) fields(kind string, o table) {
	for _, p := range fieldPaths(o, "") {
		topic := kind
		if rest, ok := strings.CutPrefix(p, "spec.template."); ok {
			topic, p = "PodTemplateSpec", strings.Replace(rest, "spec.initContainers", "spec.containers", 1)
		}
		u.checked[topic]++
		if bad := u.lacks(topic, u.minor, p); bad != "" {
			u.report("%s: field %s of %s", kind, bad, topic)
		}
	}
}

// fieldPaths returns the paths of all fields, without the indexes of lists.
func fieldPaths(v any, at string) []string {
	var out []string
	switch v := v.(type) {
	case table:
		for k, x := range v {
			p := strings.TrimPrefix(at+"."+k, ".")
			out = append(append(out, p), fieldPaths(x, p)...)
		}
	case []any:
		for _, x := range v {
			out = append(out, fieldPaths(x, at)...)
		}
	}
	return out
}

// plan checks all steps of a plan.
func (u *unknown) plan(t *testing.T, in Input) {
	t.Helper()
	for it := range plan(t, in) {
		switch s := it.Step.(type) {
		case *step.Unit:
			u.unit(s)
		case *step.File:
			u.config(s.Content)
		case *kube.Apply:
			for _, o := range s.Objects {
				u.object(o)
			}
		}
	}
}

// The daemons of every minor know each flag and each field that a plan gives them, and its
// API server serves and understands each object.
func TestKnown(t *testing.T) {
	k := readKnown(t)
	for _, r := range embedded(t).Versions() {
		t.Run(r.Minor, func(t *testing.T) {
			u := newUnknown(t, k, r)
			for _, in := range everything(t, r.Minor) {
				u.plan(t, in)
			}
			u.config(encryptionConfig(t))
			u.drain(t, r)
			for _, f := range slices.Sorted(maps.Keys(u.found)) {
				t.Errorf("Kubernetes %s does not know %s", r.Minor, f)
			}
			for topic, least := range map[string]int{
				"kube-apiserver": 30, "kube-controller-manager": 15, "kube-scheduler": 5, "kubelet": 5, "kube-proxy": 1, "etcd": 10,
				"KubeletConfiguration": 20, "KubeProxyConfiguration": 8, "Policy": 10, "EncryptionConfiguration": 5, "kubectl drain": 4, "kinds": 10, "PodTemplateSpec": 50, "APIService": 5,
			} {
				if u.checked[topic] < least {
					t.Errorf("checked %d of %s", u.checked[topic], topic)
				}
			}
		})
	}
}

func newUnknown(t *testing.T, k known, r catalog.Release) *unknown {
	t.Helper()
	u := &unknown{known: k, minor: number(t, r.Minor), found: map[string]bool{}, checked: map[string]int{}}
	for _, c := range r.Components {
		if c.Name == "etcd" {
			v, err := catalog.ParseVersion(c.Version)
			if err != nil {
				t.Fatal(err)
			}
			u.etcd = v.Minor
		}
	}
	return u
}

// encryptionConfig returns the text in installer/pki, which no plan contains.
func encryptionConfig(t *testing.T) string {
	t.Helper()
	src, err := os.ReadFile("../pki/encryption.go")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(src), "`apiVersion: apiserver.config.k8s.io/v1\n")
	text, _, _ = strings.Cut(text, "`")
	return text
}

// commandLine records the arguments of a program and runs nothing.
type commandLine struct{ argv []string }

func (c *commandLine) Run(_ context.Context, cmd step.Cmd) (step.Output, error) {
	c.argv = cmd.Argv
	return step.Output{}, nil
}

func (u *unknown) drain(t *testing.T, r catalog.Release) {
	t.Helper()
	var c commandLine
	d := &kube.Drain{Name: "node", Args: r.Features.DrainArgs}
	if _, err := d.Apply(t.Context(), &step.Env{Run: &c}); err != nil {
		t.Fatal(err)
	}
	for _, a := range c.argv {
		flag, _, _ := strings.Cut(a, "=")
		if name, ok := strings.CutPrefix(flag, "--"); ok && name != "kubeconfig" {
			u.checked["kubectl drain"]++
			if !u.known["kubectl drain"][u.minor][name] {
				u.report("kubectl drain: flag --%s", name)
			}
		}
	}
}

// everything returns inputs that together have each optional part of the minor: three
// control planes with etcd, in both modes of balancing, every pod network, isolation, mode
// of kube-proxy and addon, both families of addresses, docker, and nodes with name servers.
func everything(t *testing.T, minor string) []Input {
	t.Helper()
	inputs := []Input{sixHosts(t, minor), nodeLocal(t, minor)}
	if in := testInput(t, minor); in.hasFile(in.Cluster.Hosts[0], "dockerd") {
		in.Lock.Runtime = manifests.RuntimeDocker
		inputs = append(inputs, in)
	}
	cat := embedded(t)
	for _, name := range cat.CNIsFor(inputs[0].Lock.Release) {
		in := addonInput(t, minor, name)
		if in.Lock.CNIRelease.Policies {
			in.Cluster.Network.Isolation = manifests.IsolateNamespaces
		}
		inputs = append(inputs, in)
	}
	if in := dualStack(testInput(t, minor)); len(in.Cluster.CheckNetwork(in.Lock)) == 0 {
		inputs = append(inputs, in)
	}
	for _, mode := range []string{manifests.ProxyIPVS, manifests.ProxyNFTables} {
		in := addonInput(t, minor, "flannel")
		in.Cluster.Network.ProxyMode = mode
		if len(in.Cluster.CheckNetwork(in.Lock)) == 0 {
			inputs = append(inputs, in)
		}
	}
	for _, in := range inputs {
		for name, f := range in.Facts {
			f.Resolvers, f.ResolvConf = []string{"10.0.0.53"}, "/run/systemd/resolve/resolv.conf"
			in.Facts[name] = f
		}
	}
	return inputs
}

// The check finds a flag, a field and an object of another minor.
func TestKnownFinds(t *testing.T) {
	k := readKnown(t)
	for _, tt := range []struct {
		minor  string
		change func(*Input)
		want   string
	}{
		{"1.36", func(in *Input) { in.Cluster.APIServer.Args = map[string]string{"insecure-port": "0"} }, "kube-apiserver: flag --insecure-port"},
		{"1.36", func(in *Input) { in.Cluster.Kubelet.Args = map[string]string{"container-runtime": "remote"} }, "kubelet: flag --container-runtime"},
		{"1.36", func(in *Input) { in.Cluster.Etcd.Args = map[string]string{"enable-v2": "false"} }, "etcd: flag --enable-v2"},
		{"1.16", func(in *Input) { in.Cluster.Kubelet.Config = table{"failCgroupV1": false} }, "KubeletConfiguration: field failCgroupV1"},
		{"1.16", func(in *Input) { in.Cluster.Proxy.Config = table{"conntrack": table{"tcpBeLiberal": true}} }, "KubeProxyConfiguration: field conntrack.tcpBeLiberal"},
		{"1.36", func(in *Input) {
			in.Lock.Release.DNSTemplate = "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: x, namespace: y}\n"
		}, "object policy/v1beta1 PodDisruptionBudget"},
		{"1.16", func(in *Input) {
			in.Lock.Release.DNSTemplate = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x, namespace: y}\n" +
				"spec: {template: {spec: {initContainers: [{securityContext: {seccompProfile: {type: RuntimeDefault}}}]}}}\n"
		}, "Deployment: field spec.containers.securityContext.seccompProfile of PodTemplateSpec"},
	} {
		r, err := embedded(t).Release(tt.minor)
		if err != nil {
			t.Fatal(err)
		}
		in := everything(t, tt.minor)[0]
		tt.change(&in)
		u := newUnknown(t, k, r)
		u.plan(t, in)
		if got := slices.Sorted(maps.Keys(u.found)); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s: found %q, want %q", tt.minor, got, tt.want)
		}
	}
}

// Every minor serves the APIs that installer/kube uses. Requests for certificates are in
// v1 or, before 1.19, in v1beta1.
func TestKnownCalls(t *testing.T) {
	k := readKnown(t)
	files, err := filepath.Glob("../kube/*.go")
	if err != nil {
		t.Fatal(err)
	}
	made := regexp.MustCompile(`"apiVersion": "([^"]+)", "kind": "([A-Z][a-zA-Z]+)"`)
	asked := regexp.MustCompile(`apiPath\("([a-z0-9./]+)",`)
	calls := map[string]string{} // pattern → kind, empty for any of the version
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil || strings.HasSuffix(f, "_test.go") {
			continue
		}
		for _, m := range made.FindAllSubmatch(src, -1) {
			if string(m[2]) != "List" { // of kubectl alone
				calls[string(bytes.Join(m[1:], []byte(" ")))] = string(m[2])
			}
		}
		for _, m := range asked.FindAllSubmatch(src, -1) {
			calls[string(m[1])+" "] = ""
		}
	}
	if len(calls) < 6 {
		t.Fatalf("found only %v", calls)
	}
	for _, r := range embedded(t).Versions() {
		served := k["kinds"][number(t, r.Minor)]
		for c := range calls {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(served)), func(s string) bool { return strings.HasPrefix(s, c) }) {
				t.Errorf("%s does not serve %s", r.Minor, c)
			}
		}
		if csr := "CertificateSigningRequest"; !served["certificates.k8s.io/v1 "+csr] && !served["certificates.k8s.io/v1beta1 "+csr] {
			t.Errorf("%s serves no %s that the approver reads", r.Minor, csr)
		}
	}
}
