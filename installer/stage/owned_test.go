package stage

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// setting is a flag or a field of a generated file.
type setting struct{ field, kind, key, value string }

// generatedSettings returns the settings of all programs on a host, and the values
// on which its other steps rely: paths, addresses to wait for, names.
func generatedSettings(t *testing.T, in Input, h manifests.Host) (settings []setting, relied map[string]string) {
	t.Helper()
	relied = map[string]string{}
	units := map[string]string{
		"etcd.service": "etcd", "kube-apiserver.service": "apiServer", "kube-controller-manager.service": "controllerManager",
		"kube-scheduler.service": "scheduler", "kubelet.service": "kubelet", "kube-proxy.service": "proxy",
	}
	configs := map[string]string{kubeletCfg: "kubelet", proxyCfg: "proxy", containerdCfg: "runtime"}
	for it := range plan(t, in) {
		if it.host.Name != h.Name {
			continue
		}
		switch s := it.Step.(type) {
		case *step.Unit:
			field, known := units[s.Name]
			for _, line := range strings.Split(s.Content, "\n") {
				flag, isFlag := strings.CutPrefix(strings.Trim(line, ` \"`), "--")
				if key, value, ok := strings.Cut(flag, "="); known && isFlag && ok {
					settings = append(settings, setting{field, "args", key, value})
				}
			}
		case *step.File:
			relied[s.Path] = it.ID
			field, known := configs[s.Path]
			if !known {
				continue
			}
			var v table
			var err error
			if field == "runtime" {
				err = toml.Unmarshal([]byte(s.Content), &v)
			} else {
				err = json.Unmarshal([]byte(s.Content), &v)
			}
			if err != nil {
				t.Fatal(err)
			}
			leaves(v, "", func(key, value string) { settings = append(settings, setting{field, "config", key, value}) })
		case *step.Directory:
			relied[s.Path] = it.ID
		case *step.Artifact:
			relied[s.Path] = it.ID
		case *step.Symlink:
			relied[s.Path] = it.ID
		case *step.EtcdData:
			for _, v := range []string{s.Dir, s.Name, s.Token, s.PeerURL} {
				relied[v] = it.ID
			}
		case *step.Wait:
			relied[strings.TrimSuffix(strings.TrimPrefix(s.URL, "http://"), "/healthz")] = it.ID
		}
	}
	return settings, relied
}

// leaves calls found with each value in v that is not a mapping, by its path of keys.
func leaves(v any, at string, found func(key, value string)) {
	switch v := v.(type) {
	case table:
		for k, x := range v {
			leaves(x, strings.TrimPrefix(at+"/"+k, "/"), found)
		}
	case []any:
		for _, x := range v {
			leaves(x, at, found)
		}
	default:
		found(at, fmt.Sprint(v))
	}
}

// alike are values that are equal by chance, not because they must be.
var alike = []string{"true", "false", "0", "100", "5", "10", "30", "1000", "VersionTLS12", "runc"}

// free are settings that an operator may change alone: ciphers that several programs
// happen to share, another audit policy, other admission plugins, another OCI runtime.
var free = []string{"tls-cipher-suites", "tlsCipherSuites", "audit-policy-file", "admission-control-config-file", "BinaryName"}

// The owned keys of manifests are complete: cluster.yaml cannot change a value that
// two generated files share, or on which a step relies.
func TestOwnedKeysCoverGeneratedFiles(t *testing.T) {
	for _, minor := range []string{"1.16", "1.36"} {
		in := testInput(t, minor)
		in.Cluster.APIVersion, in.Cluster.Kind = manifests.APIVersion, manifests.KindCluster
		shared := 0
		for _, h := range in.Cluster.Hosts[:2] {
			settings, relied := generatedSettings(t, in, h)
			uses := map[string]map[string]bool{}
			for _, s := range settings {
				for v := range strings.SplitSeq(s.value, ",") {
					if uses[v] == nil {
						uses[v] = map[string]bool{}
					}
					uses[v][s.field] = true
				}
			}
			for _, s := range settings {
				if slices.Contains(free, path.Base(s.key)) {
					continue
				}
				for v := range strings.SplitSeq(s.value, ",") {
					why := ""
					switch {
					case slices.Contains(alike, v):
					case len(uses[v]) > 1:
						why = "other programs repeat it"
					case relied[v] != "":
						why = "the step " + relied[v] + " relies on it"
					case strings.HasPrefix(v, "/") && relied[path.Dir(v)] != "" && path.Dir(v) != "/var/log/kubernetes":
						why = "the step " + relied[path.Dir(v)] + " makes its directory"
					}
					if why == "" {
						continue
					}
					shared++
					if !refused(in.Cluster, s) {
						t.Errorf("%s: %s.%s %s = %q may be overridden, but %s", minor, s.field, s.kind, s.key, v, why)
					}
				}
			}
		}
		if shared < 60 {
			t.Errorf("%s: only %d shared values found; does the test still read the files?", minor, shared)
		}
	}
}

// refused reports whether cluster.yaml cannot set s to another value.
func refused(c *manifests.Cluster, s setting) bool {
	x := *c
	var d manifests.Component
	if s.kind == "args" {
		d.Args = map[string]string{s.key: "other"}
	} else {
		keys := strings.Split(s.key, "/")
		var v any = "other"
		for _, k := range slices.Backward(keys) {
			v = table{k: v}
		}
		d.Config = v.(table)
	}
	switch s.field {
	case "etcd":
		x.Etcd = d
	case "apiServer":
		x.APIServer = d
	case "controllerManager":
		x.ControllerManager = d
	case "scheduler":
		x.Scheduler = d
	case "kubelet":
		x.Kubelet = d
	case "proxy":
		x.Proxy = d
	case "runtime":
		x.Runtime.Config = d.Config
	}
	for _, p := range x.Validate() {
		if strings.HasPrefix(p.Path, s.field+"."+s.kind) {
			return true
		}
	}
	return false
}

// The firewall follows the range of node ports that the API server uses.
func TestNodePortRange(t *testing.T) {
	in := testInput(t, "1.36")
	in.Cluster.APIServer.Args = map[string]string{"service-node-port-range": "20000-40000"}
	ports := steps(t, in, "host", "node-1")["firewall-open"].Step.(*step.Firewall).Ports
	if want := []string{"20000-40000/tcp", "20000-40000/udp"}; !slices.Equal(ports, want) {
		t.Errorf("open ports %v, want %v", ports, want)
	}
}
