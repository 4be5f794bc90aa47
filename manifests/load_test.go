package manifests

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/manifests/strict"
)

const goodCluster = `apiVersion: offk8s.dev/v1
kind: Cluster
name: lab
mirror:
  url: https://10.0.0.5:8443
hosts:
  - name: cp-1
    address: 10.0.0.11
    roles: [control-plane, etcd]
  - name: worker-1
    address: 10.0.0.21
    roles: [worker]
`

// problems returns what LoadCluster says, one line per problem, without hints.
func problems(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var le *strict.Error
	if !errors.As(err, &le) {
		t.Fatalf("error is a %T: %v", err, err)
	}
	var out []string
	for _, p := range le.Problems {
		p.Hint = ""
		out = append(out, p.String())
	}
	return out
}

func TestLoadClusterReportsEveryProblem(t *testing.T) {
	doc := `apiVersion: offk8s.dev/v2
kind: Cluster
name: Lab
nam: lab
mirror:
  url: https://10.0.0.5:8443
  url: http://10.0.0.6
hosts:
  - name: cp-1
    address: 10.0.0.11
    roles: [control-plane, etcd]
    rolls: []
    local: maybe
  - name: worker-1
    address: 10.0.0.11
    roles: worker
    ssh: {port: many, prot: 22}
network:
  podCIDR: 10.0.0.0/8
`
	_, err := LoadCluster("c.yaml", []byte(doc))
	want := []string{
		`c.yaml:1:13: apiVersion: found "offk8s.dev/v2", want "offk8s.dev/v1"`,
		`c.yaml:3:7: name: found "Lab", want lower case letters, digits and dashes`,
		`c.yaml:4:1: nam: unknown field`,
		`c.yaml:7:3: mirror.url: duplicate key "url", first on line 6`,
		`c.yaml:10:14: hosts[0].address: 10.0.0.11 is in the pod range 10.0.0.0/8`,
		`c.yaml:12:5: hosts[0].rolls: unknown field`,
		`c.yaml:13:12: hosts[0].local: want true or false, found "maybe"`,
		`c.yaml:15:14: hosts[1].address: "10.0.0.11" is already that of hosts[0]`,
		`c.yaml:15:14: hosts[1].address: 10.0.0.11 is in the pod range 10.0.0.0/8`,
		`c.yaml:16:12: hosts[1].roles: want a list, found "worker"`,
		`c.yaml:17:17: hosts[1].ssh.port: want a whole number, found "many"`,
		`c.yaml:17:23: hosts[1].ssh.prot: unknown field`,
		`c.yaml:18:1: network.serviceCIDR: 10.96.0.0/16 overlaps the pods' 10.0.0.0/8`,
	}
	if diff := cmp.Diff(want, problems(t, err)); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(err.Error(), `(did you mean "roles"?)`) {
		t.Errorf("no hint in:\n%v", err)
	}
}

func TestLoadClusterValues(t *testing.T) {
	c, err := LoadCluster("c.yaml", []byte(goodCluster+`kubernetes: 1.20
kubelet:
  args: {v: 2, profiling: false}
  config:
    maxPods: 110
    deep: {a: [1, 1.5, "x", true, ~]}
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Kubernetes != "1.20" {
		t.Errorf("kubernetes: 1.20 was read as %q", c.Kubernetes)
	}
	want := Component{
		Args: map[string]string{"v": "2", "profiling": "false"},
		Config: map[string]any{
			"maxPods": int64(110),
			"deep":    map[string]any{"a": []any{int64(1), 1.5, "x", true, nil}},
		},
	}
	if diff := cmp.Diff(want, c.Kubelet); diff != "" {
		t.Error(diff)
	}
	if got := c.Hosts[0].Roles; !cmp.Equal(got, []Role{RoleControlPlane, RoleEtcd}) {
		t.Errorf("roles %v", got)
	}
}

func TestLoadRefusesHostileYAML(t *testing.T) {
	var laughs strings.Builder
	laughs.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 12; i++ {
		n, m := string(rune('a'+i)), string(rune('a'+i-1))
		if i == 1 {
			m = "a0"
		}
		laughs.WriteString(n + ": &" + n + " [" + strings.TrimSuffix(strings.Repeat("*"+m+",", 9), ",") + "]\n")
	}
	tests := []struct{ name, doc, want string }{
		{"alias bomb", laughs.String(), "unknown field"},
		{"alias of a value", "apiVersion: &v offk8s.dev/v1\nkind: Cluster\nname: *v\n", "anchors and aliases"},
		{"merge key", "apiVersion: offk8s.dev/v1\nkind: Cluster\nssh: {<<: {port: 1}}\n", "not a plain text"},
		{"tag", "apiVersion: offk8s.dev/v1\nkind: Cluster\nname: !!binary YQ==\n", "tags are not supported"},
		{"flow nesting", "a: " + strings.Repeat("[", 100000), "nested deeper"},
		{"flow maps", "a: " + strings.Repeat("{a: ", 100000), "nested deeper"},
		{"sequences on one line", strings.Repeat("- ", 100000), "nested deeper"},
		{"keys on one line", strings.Repeat("? ", 100000), "nested deeper"},
		{"too large", strings.Repeat("#", 1<<20+1), "are more than"},
		{"not text", "name: \xff\xfe", "not UTF-8"},
		{"control character", "name: a\x00b", "control character"},
		{"two documents", goodCluster + "---\n" + goodCluster, "second document"},
		{"empty", "# nothing\n", "empty"},
		{"a list", "- a\n", "want a mapping"},
		{"syntax", "name: [a\n", "not YAML"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := LoadCluster("c.yaml", []byte(tt.doc))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %.300v, want %q", err, tt.want)
			}
		})
	}
}

func TestLoadDeepConfig(t *testing.T) {
	var b strings.Builder
	b.WriteString(goodCluster + "kubelet:\n  config:\n")
	for i := range 80 {
		b.WriteString(strings.Repeat(" ", i+4) + "a:\n")
	}
	if _, err := LoadCluster("c.yaml", []byte(b.String())); err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Errorf("got %v", err)
	}
}

func TestLoadAcceptsWindowsFiles(t *testing.T) {
	doc := "\ufeff" + strings.ReplaceAll(goodCluster, "\n", "\r\n")
	c, err := LoadCluster("c.yaml", []byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if c.Hosts[1].Name != "worker-1" {
		t.Errorf("host %q", c.Hosts[1].Name)
	}
}

func TestLoadManifest(t *testing.T) {
	doc := `apiVersion: offk8s.dev/v1
kind: Manifest
kubernetes: "1.36"
expires: 2030-01-31
images: [nginx, "library/nginx:1.29", "docker.io/library/nginx", "docker.io/library/nginx:1.29"]
files:
  - {name: ../x, url: "ftp://a/b", digest: "sha256:12"}
  - {name: y, url: "http://a.example/b"}
rewrites: [{from: "", to: "a b"}]
arches: [amd64, amd64, sparc]
`
	_, err := LoadManifest("p.yaml", []byte(doc))
	var got []string
	for _, p := range problems(t, err) {
		got = append(got, strings.Split(p, ": ")[1])
	}
	want := []string{
		"images[0]", "images[1]", "images[2]", "files[0].name", "files[0].url", "files[0].digest", "files[1].url",
		"rewrites[0].from", "rewrites[0].to", "arches[1]", "arches[2]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%v", diff, err)
	}
}

// example lines of the commented files, to be loaded without their mark.
var exampleLine = regexp.MustCompile(`(?m)^( *)# ( *(?:[a-z][A-Za-z0-9./_-]*:|- ).*)$`)

func TestInitFilesLoad(t *testing.T) {
	for _, full := range []bool{false, true} {
		pack, cluster := InitManifest(), InitCluster()
		if full {
			for range 2 { // an example may have an example of its own
				pack = exampleLine.ReplaceAll(pack, []byte("$1$2"))
				cluster = exampleLine.ReplaceAll(cluster, []byte("$1$2"))
			}
		}
		m, err := LoadManifest("pack.yaml", pack)
		if err != nil {
			t.Errorf("full %v: %v\n%s", full, err, pack)
		}
		c, err := LoadCluster("cluster.yaml", cluster)
		if err != nil {
			t.Fatalf("full %v: %v\n%s", full, err, cluster)
		}
		if full && (len(m.Rewrites) == 0 || m.Expires.IsZero() || len(c.HostPrep.Skip) == 0 || c.Hosts[1].SSH.HostKey == "") {
			t.Errorf("the examples were not uncommented: %+v %+v", m, c)
		}
	}
}

func FuzzLoadCluster(f *testing.F) {
	f.Add([]byte(goodCluster))
	f.Add(InitCluster())
	f.Add([]byte("hosts: [{name: a, labels: {a/b: c}}]\nnetwork: {podCIDR: 10.0.0.0/33}"))
	f.Add([]byte(goodCluster + "kubelet: {config: {cgroupDriver: ~, authentication: [x]}, args: {node-ip: 1}}\nruntime: {config: {plugins: {a: {containerd: {runtimes: {b: {options: {SystemdCgroup: x}}}}}}}}\n"))
	f.Add([]byte(goodCluster + "network: {podCIDR: 'fd00::/56', serviceCIDR: '::ffff:10.0.0.0/112'}\ncontrolPlane: {endpoint: '[::1]:6443', sans: ['*.a.b']}\nssh: {user: 'A\\b@c'}\n"))
	f.Add([]byte("? a\n: - - b\n<<: *x\nc: |2\n  d\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := LoadCluster("c.yaml", data); err != nil {
			checkProblems(t, err)
		}
	})
}

func FuzzLoadManifest(f *testing.F) {
	f.Add(InitManifest())
	f.Add([]byte("apiVersion: offk8s.dev/v1\nkind: Manifest\nkubernetes: 1.36\nexpires: 2030-01-31\n"))
	f.Add([]byte("files: [{name: a, url: 'http://x', digest: 'sha256:'}]\nkeyrings: {a: b}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := LoadManifest("p.yaml", data); err != nil {
			checkProblems(t, err)
		}
	})
}

// checkProblems holds for every error of a loader.
func checkProblems(t *testing.T, err error) {
	var le *strict.Error
	if !errors.As(err, &le) || len(le.Problems) == 0 {
		t.Fatalf("a %T without problems", err)
	}
	for _, p := range le.Problems {
		if p.Message == "" || p.File == "" || p.Line < 0 {
			t.Fatalf("problem %+v says nothing", p)
		}
	}
}
