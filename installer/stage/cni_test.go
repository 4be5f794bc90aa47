package stage

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// A pod network is data: a catalog overlay with a cni.yaml and a template is
// enough for a plan that prepares hosts for it, starts it, and removes it on reset.
func TestNetworkIsData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cni", "tunnel")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"cni.yaml": `apiVersion: offk8s.dev/v1
kind: CNI
name: tunnel
releases:
  - from: "1.36"
    version: v1.0.0
    images: {agent: {ref: "registry.example/tunnel:v1.0.0"}}
    template: objects.yaml
    ports: [51820/udp]
    ready: [/proc/sys/net/ipv4/conf/tunnel0]
    logs: [/var/log/pods/kube-system_tunnel-*/*/*.log]
    modules: [wireguard, geneve]
    sysctls: {net.ipv4.conf.all.rp_filter: "0"}
    interfaces: [tunnel0]
    files: [/var/run/tunnel, /etc/cni/net.d/05-tunnel.conf]
    chains: [TUNNEL-, tun_]
    ruleComments: ["tunnel:"]
`,
		"objects.yaml": `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: tunnel, namespace: kube-system}
spec:
  template: {spec: {containers: [{name: agent, image: "{{.Images.agent}}", args: ["{{.PodCIDR}}"]}]}}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cat, err := catalog.Embedded()
	if err == nil {
		err = cat.Overlay(filepath.Dir(filepath.Dir(dir)))
	}
	if err != nil {
		t.Fatal(err)
	}
	in := testInput(t, "1.36")
	in.Lock = testLock(t, cat, "1.36", "tunnel")

	host := steps(t, in, "host", "node-1")
	if got := host["modules"].Step.(*step.Modules).Optional; !slices.Contains(got, "wireguard") || !slices.Contains(got, "geneve") || slices.Contains(got, "vxlan") {
		t.Errorf("modules %v", got)
	}
	if got := host["sysctl"].Step.(*step.Sysctl).Values["net.ipv4.conf.all.rp_filter"]; got != "0" {
		t.Errorf("rp_filter = %q", got)
	}
	if got := host["firewall-hosts"].Step.(*step.Firewall).Ports; !slices.Contains(got, "51820/udp") || slices.Contains(got, "8472/udp") {
		t.Errorf("ports %v", got)
	}
	want := &step.Cleanup{
		Interfaces: []string{"tunnel0"}, Files: []string{"/var/run/tunnel"}, Chains: []string{"TUNNEL-", "tun_"},
		RuleComments: []string{"tunnel:"}, PodCIDR: in.Cluster.PodCIDR(),
	}
	if diff := cmp.Diff(want, steps(t, in, "runtime", "node-1")["cleanup"].Step); diff != "" {
		t.Errorf("reset: -want +got:\n%s", diff)
	}
	apply := steps(t, in, "network", "cp-1")["tunnel"].Step.(*kube.Apply)
	if len(apply.Objects) != 1 || !strings.Contains(string(apply.Objects[0]), "registry.example/tunnel@sha256:") {
		t.Errorf("objects %s", apply.Objects)
	}
	// Every node observes its network, not the control plane alone.
	for _, h := range in.Cluster.Nodes() {
		up, _ := steps(t, in, "nodenetwork", h.Name)["up"].Step.(*step.Present)
		if up == nil || !slices.Equal(up.Files, []string{"/proc/sys/net/ipv4/conf/tunnel0"}) || !slices.Equal(up.Logs, []string{"/var/log/pods/kube-system_tunnel-*/*/*.log"}) {
			t.Errorf("%s waits for %+v", h.Name, up)
		}
	}
	for it := range plan(t, in) {
		if strings.Contains(it.ID+it.Step.Describe(), "flannel") {
			t.Errorf("%s: step %q: %s", it.host.Name, it.ID, it.Step.Describe())
		}
	}
}
