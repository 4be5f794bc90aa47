package stage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/test/testenv"
)

// flagsIn reads a unit's arguments back.
func flagsIn(t *testing.T, in Input, stage, host, id string) map[string]string {
	t.Helper()
	u, ok := steps(t, in, stage, host)[id].Step.(*step.Unit)
	if !ok {
		t.Fatalf("%s on %s has no unit %q", stage, host, id)
	}
	return unitFlags(u.Content)
}

// unitFlags returns the flags in a unit file by name.
func unitFlags(unit string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(unit) {
		line = strings.Trim(strings.TrimSuffix(strings.TrimSpace(line), "\\"), " \"")
		if f, ok := strings.CutPrefix(line, "--"); ok {
			k, v, _ := strings.Cut(f, "=")
			out[k] = v
		}
	}
	return out
}

// What makes a cluster permissive is off in every minor: points of the CIS
// benchmarks 1.5 and 1.6, by their groups.
func TestT45Hardening(t *testing.T) {
	tests := []struct{ stage, host, unit, flag, want, cis string }{
		{"controlplane", "cp-1", "kube-apiserver-unit", "anonymous-auth", "false", "1.2.1"},
		{"controlplane", "cp-1", "kube-apiserver-unit", "kubelet-certificate-authority", kubeCA, "1.2.6"},
		{"controlplane", "cp-1", "kube-apiserver-unit", "kubelet-client-certificate", kubePKI + "/apiserver-kubelet-client.crt", "1.2.5"},
		{"controlplane", "cp-1", "kube-apiserver-unit", "authorization-mode", "Node,RBAC", "1.2.7-9"},
		{"controlplane", "cp-1", "kube-apiserver-unit", "profiling", "false", "1.2.21"},
		{"controlplane", "cp-1", "kube-apiserver-unit", "audit-log-path", auditLog, "1.2.22"},
		{"controlplane", "cp-1", "kube-apiserver-unit", "audit-log-maxage", "30", "1.2.23"},
		{"controlplane", "cp-1", "kube-apiserver-unit", "audit-policy-file", auditPolicy, "3.2.1"},
		{"controlplane", "cp-1", "kube-apiserver-unit", "service-account-key-file", kubePKI + "/service-account.pub", "1.2.28"},
		{"controlplane", "cp-1", "kube-apiserver-unit", "etcd-cafile", kubePKI + "/etcd-ca.crt", "1.2.32"},
		{"controlplane", "cp-1", "kube-apiserver-unit", "etcd-certfile", kubePKI + "/apiserver-etcd-client.crt", "1.2.29"},
		{"controlplane", "cp-1", "kube-apiserver-unit", "client-ca-file", kubeCA, "1.2.31"},
		{"controlplane", "cp-1", "kube-apiserver-unit", "encryption-provider-config", encryption, "1.2.33"},
		{"controlplane", "cp-1", "kube-apiserver-unit", "tls-min-version", "VersionTLS12", "1.2.35"},
		{"controlplane", "cp-1", "kube-controller-manager-unit", "profiling", "false", "1.3.2"},
		{"controlplane", "cp-1", "kube-controller-manager-unit", "use-service-account-credentials", "true", "1.3.3"},
		{"controlplane", "cp-1", "kube-controller-manager-unit", "root-ca-file", kubeCA, "1.3.5"},
		{"controlplane", "cp-1", "kube-controller-manager-unit", "bind-address", "127.0.0.1", "1.3.7"},
		{"controlplane", "cp-1", "kube-scheduler-unit", "profiling", "false", "1.4.1"},
		{"controlplane", "cp-1", "kube-scheduler-unit", "bind-address", "127.0.0.1", "1.4.2"},
		{"etcd", "node-1", "unit", "client-cert-auth", "true", "2.2"},
		{"etcd", "node-1", "unit", "peer-client-cert-auth", "true", "2.5"},
		{"etcd", "node-1", "unit", "trusted-ca-file", etcdPKI + "/ca.crt", "2.7"},
		{"etcd", "node-1", "unit", "listen-client-urls", "https://10.0.0.12:2379,https://127.0.0.1:2379", "2.1"},
		{"etcd", "node-1", "unit", "auto-tls", "", "2.3"},
		{"etcd", "node-1", "unit", "peer-auto-tls", "", "2.6"},
		{"controlplane", "cp-1", "kube-apiserver-unit", "token-auth-file", "", "1.2.3"},
		{"controlplane", "cp-1", "kube-apiserver-unit", "basic-auth-file", "", "1.2.2"},
	}
	for _, minor := range []string{"1.16", "1.36"} {
		in := testInput(t, minor)
		for _, tt := range tests {
			if got := flagsIn(t, in, tt.stage, tt.host, tt.unit)[tt.flag]; got != tt.want {
				t.Errorf("%s: CIS %s: %s --%s=%q, want %q", minor, tt.cis, tt.unit, tt.flag, got, tt.want)
			}
		}
		cfg := steps(t, in, "node", "node-1")["kubelet-config"].Step.(*step.File).Content
		for _, want := range []string{
			`"anonymous": {` + "\n      \"enabled\": false", `"mode": "Webhook"`, `"readOnlyPort": 0`, `"clientCAFile": "` + kubeCA,
			`"rotateCertificates": true`, `"serverTLSBootstrap": true`, `"tlsMinVersion": "VersionTLS12"`,
		} {
			if !strings.Contains(cfg, want) {
				t.Errorf("%s: CIS 4.2: kubelet configuration lacks %s", minor, want)
			}
		}
		// CIS 1.1, 4.1: nobody but root reads the files of pki.
		for id, it := range steps(t, in, "pki", "cp-1") {
			if f, ok := it.Step.(*step.File); ok && f.Mode != 0o600 {
				t.Errorf("%s: %s has mode %s", minor, id, f.Mode)
			}
		}
	}
	// Ports without authentication, up to the last minor that listens on them.
	for _, tt := range []struct {
		unit, flag string
		last       int
	}{{"kube-apiserver-unit", "insecure-port", 19}, {"kube-controller-manager-unit", "port", 21}, {"kube-scheduler-unit", "port", 22}} {
		for minor := 16; minor <= tt.last; minor++ {
			in := testInput(t, fmt.Sprint("1.", minor))
			if got := flagsIn(t, in, "controlplane", "cp-1", tt.unit)[tt.flag]; got != "0" {
				t.Errorf("1.%d: CIS 1.2.19: %s --%s=%q, want 0", minor, tt.unit, tt.flag, got)
			}
		}
	}
}

// The token is short-lived, only known to those who need it, and taken away.
func TestT44Token(t *testing.T) {
	in := testInput(t, "1.36")
	boot := steps(t, in, "node", "node-1")["bootstrap"]
	if f := boot.Step.(*step.File); f.Mode != 0o600 || f.Content != "" || boot.Unless != "/var/lib/kubelet/pki/kubelet-client-current.pem" {
		t.Errorf("bootstrap kubeconfig: %+v unless %q", f, boot.Unless)
	}
	if _, ok := steps(t, in, "node", "node-1")["no-bootstrap"]; !ok {
		t.Error("the bootstrap kubeconfig stays on the node")
	}
	items, err := joinSteps(in, in.Cluster.Hosts[0])
	if err != nil {
		t.Fatal(err)
	}
	if last := items[len(items)-1]; last.Step.Kind() != "kube-token-gone" {
		t.Errorf("join ends with %s", last.Step.Kind())
	}
}

// The step that lets a kubelet join again comes before its bootstrap kubeconfig and its
// unit, which finish the work.
func TestKubeletJoinsAgain(t *testing.T) {
	in := testInput(t, "1.36")
	items, err := nodeSteps(in, in.Cluster.Hosts[2])
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, it := range items {
		if slices.Contains([]string{"node/kubelet-join", "node/bootstrap", "node/kubelet-unit"}, it.ID) {
			order = append(order, it.ID)
		}
	}
	if want := []string{"node/kubelet-join", "node/bootstrap", "node/kubelet-unit"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

// A machine without offk8s gets a token even if the API still has a node of its name.
func TestNewNodes(t *testing.T) {
	in := testInput(t, "1.36")
	for _, name := range []string{"cp-1", "node-1"} {
		f := in.Facts[name]
		f.Installed = &facts.Installed{Cluster: "test"}
		in.Facts[name] = f
	}
	token := steps(t, in, "access", "cp-1")["token"].Step.(*kube.Token)
	if want := []string{"node-2"}; !slices.Equal(token.New, want) {
		t.Errorf("new nodes %v, want %v", token.New, want)
	}
}

func TestMergeFlags(t *testing.T) {
	zero := "0"
	in := Input{Cluster: &manifests.Cluster{}, Lock: &manifests.Lock{Release: catalog.Release{
		Args: map[string]map[string]*string{"d": {"gone": nil, "new": &zero, "mine": &zero}},
	}}}
	got := mergeFlags(in, "d", flags{"gone": "1", "stays": "1"}, flags{"mine": "7"})
	want := flags{"stays": "1", "new": "0", "mine": "7"}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s = %q, want %q", k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// etcd 3.3 refuses to start on arm64 without a word in its environment.
func TestEtcdOnARM(t *testing.T) {
	for arch, want := range map[string]bool{"amd64": false, "arm64": true} {
		in := testInput(t, "1.16")
		h := in.Cluster.HostsWith(manifests.RoleEtcd)[0]
		in.Facts = map[string]facts.Facts{h.Name: {Arch: arch, OS: catalog.OSRelease{ID: "debian", Version: "12"}}}
		for i := range in.Lock.Artifacts {
			if in.Lock.Artifacts[i].Platform != "" {
				in.Lock.Artifacts[i].Platform = manifests.Platform(arch)
			}
		}
		u := steps(t, in, "etcd", h.Name)["unit"].Step.(*step.Unit)
		if got := strings.Contains(u.Content, "\nEnvironment=ETCD_UNSUPPORTED_ARCH=arm64\n"); got != want {
			t.Errorf("%s: told %t, want %t", arch, got, want)
		}
	}
}

// A host without name servers may lack /etc/resolv.conf; one that is there stays as it is.
func TestResolvConf(t *testing.T) {
	for file, want := range map[string]bool{"": true, "/etc/resolv.conf": false, "/run/systemd/resolve/resolv.conf": false} {
		in := testInput(t, "1.36")
		in.Facts = map[string]facts.Facts{"node-2": {Arch: "amd64", OS: catalog.OSRelease{ID: "debian", Version: "12"}, ResolvConf: file}}
		it, got := steps(t, in, "node", "node-2")["resolv-conf"]
		if got != want || got && it.Unless != "/etc/resolv.conf" {
			t.Errorf("%q: %t unless %q, want %t", file, got, it.Unless, want)
		}
	}
}

func TestQuoteArg(t *testing.T) {
	tests := []struct{ in, want string }{
		{"--a=b", "--a=b"},
		{"--a=b c", `"--a=b c"`},
		{"--a=100%", "--a=100%%"},
		{"--a=$HOME", "--a=$$HOME"},
		{`--a=b"c\d`, `"--a=b\"c\\d"`},
		{"--a=b\nExecStartPre=/bin/evil", `"--a=b\nExecStartPre=/bin/evil"`},
		{"--a=b;c", `"--a=b;c"`},
	}
	for _, tt := range tests {
		if got := quoteArg(tt.in); got != tt.want {
			t.Errorf("quoteArg(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

// systemd itself reads the units.
func TestUnitsVerify(t *testing.T) {
	testenv.NeedTool(t, "systemd-analyze")
	for _, minor := range []string{"1.16", "1.36"} {
		in := testInput(t, minor)
		dir := t.TempDir()
		var units []string
		for it := range plan(t, in) {
			if u, ok := it.Step.(*step.Unit); ok && u.Content != "" && it.host.Name == "cp-1" {
				// The programs are not on this machine.
				text := strings.ReplaceAll(u.Content, "ExecStart=/usr/local/bin/"+strings.TrimSuffix(u.Name, ".service"), "ExecStart=/bin/true")
				file := filepath.Join(dir, u.Name)
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				units = append(units, file)
			}
		}
		if len(units) != 8 {
			t.Errorf("%d units, want 8: %v", len(units), units)
		}
		cmd := exec.Command("systemd-analyze", append([]string{"verify"}, units...)...)
		cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
		out, err := cmd.CombinedOutput()
		lines := slices.DeleteFunc(strings.Split(string(out), "\n"), func(l string) bool { return !strings.Contains(l, dir) })
		if err != nil || len(lines) > 0 {
			t.Errorf("%s: systemd-analyze verify: %v\n%s", minor, err, out)
		}
	}
}

// The access rules, above all the approver's: it reads requests and approves those of two
// signers, and nothing else.
func TestRBAC(t *testing.T) {
	objects, err := rbacObjects(sixHosts(t, "1.36"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, o := range objects {
		if err := json.Indent(&out, o, "", "  "); err != nil {
			t.Fatal(err)
		}
		out.WriteByte('\n')
	}
	golden(t, "rbac.json", out.String())
}

// Every control plane runs the approver, with the program of the bundle, and no other host.
func TestApprover(t *testing.T) {
	in := testInput(t, "1.36")
	in.Cluster.Hosts[1].Roles = append(in.Cluster.Hosts[1].Roles, manifests.RoleControlPlane)
	for host, want := range map[string]bool{"cp-1": true, "node-1": true, "node-2": false} {
		items := steps(t, in, "controlplane", host)
		if _, ok := items["offk8s-approver-unit"]; ok != want {
			t.Errorf("%s: approver %t, want %t", host, ok, want)
		}
		if !want {
			continue
		}
		u := items["offk8s-approver-unit"].Step.(*step.Unit)
		// It reads its inventory again by itself.
		if slices.Contains(u.Triggers, approverConfig) || !slices.Contains(u.Triggers, approverConf) {
			t.Errorf("%s: restarted by %v", host, u.Triggers)
		}
		program, err := in.file(in.Cluster.Hosts[0], "offk8s")
		if err != nil {
			t.Fatal(err)
		}
		if a := items["program-offk8s-approver"].Step.(*step.Artifact); a.Digest != plain(program) {
			t.Errorf("%s: program %s", host, a.Digest)
		}
	}
}
