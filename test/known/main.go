// Command known writes the names that the programs of each Kubernetes minor understand: flags
// of the daemons, fields of configuration files, API versions and fields of objects. It reads
// the sources of their Go modules, which it downloads: about 4 GB, and GOMODCACHE
// chooses the place. TestKnown of installer/stage checks plans with its output. `make known`
// runs it, for a new minor.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/offk8s/offk8s/manifests/catalog"
)

// commands are packages and functions that return a command with all its flags.
var commands = map[string][2]string{
	"kube-apiserver":          {"k8s.io/kubernetes/cmd/kube-apiserver/app", "NewAPIServerCommand"},
	"kube-controller-manager": {"k8s.io/kubernetes/cmd/kube-controller-manager/app", "NewControllerManagerCommand"},
	"kube-scheduler":          {"k8s.io/kubernetes/cmd/kube-scheduler/app", "NewSchedulerCommand"},
	"kubelet":                 {"k8s.io/kubernetes/cmd/kubelet/app", "NewKubeletCommand"},
	"kube-proxy":              {"k8s.io/kubernetes/cmd/kube-proxy/app", "NewProxyCommand"},
	"kubectl drain":           {"k8s.io/kubectl/pkg/cmd/drain", "NewCmdDrain"},
}

// objects are kinds whose fields changed; PodTemplateSpec is a part of several.
var objects = map[string]string{
	"PodTemplateSpec": "k8s.io/api/core/v1", "Service": "k8s.io/api/core/v1",
	"DaemonSet": "k8s.io/api/apps/v1", "Deployment": "k8s.io/api/apps/v1", "Job": "k8s.io/api/batch/v1",
}

// configs are the packages of configuration files by kind; some have moved.
var configs = map[string][]string{
	"KubeletConfiguration":    {"k8s.io/kubelet/config/v1beta1"},
	"KubeProxyConfiguration":  {"k8s.io/kube-proxy/config/v1alpha1"},
	"Policy":                  {"k8s.io/apiserver/pkg/apis/audit/v1"},
	"EncryptionConfiguration": {"k8s.io/apiserver/pkg/apis/config/v1", "k8s.io/apiserver/pkg/apis/apiserver/v1"},
}

// etcds are one version of each minor of etcd, with the module and the version there. The
// proxy knows etcd 3.4 only by commits, of which Kubernetes names some.
var etcds = []struct{ minor, module, version string }{
	{"3.3", "go.etcd.io/etcd", "v3.3.17+incompatible"},
	{"3.4", "go.etcd.io/etcd", "v0.5.0-alpha.5.0.20200910180754-dd1b699fc489"}, // 3.4.13
	{"3.5", "go.etcd.io/etcd/server/v3", "v3.5.33"},
	{"3.6", "go.etcd.io/etcd/server/v3", "v3.6.14"},
}

// libraries are modules with versions of their own; the flags are the same in all of them.
var libraries = map[string]string{
	"github.com/spf13/pflag": "v1.0.5", "github.com/spf13/cobra": "v1.8.0", "k8s.io/klog": "v1.0.0", "k8s.io/klog/v2": "v2.4.0",
}

// presence lists, by name, the indexes of the releases that have it.
type presence map[string][]int

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "known:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("give the file to write, such as installer/stage/testdata/known.yaml")
	}
	cat, err := catalog.Embedded()
	if err != nil {
		return err
	}
	var versions, minors, etcdMinors []string
	topics := map[string]presence{"etcd": {}, "kinds": {}}
	var kinds []map[string]lifecycle
	for i, r := range cat.Versions() {
		versions, minors = append(versions, r.Version), append(minors, r.Minor)
		fmt.Fprintln(os.Stderr, r.Version)
		l := newLoader(r.Version, libraries)
		if err := l.release(i, topics); err != nil {
			return err
		}
		kinds = append(kinds, l.kindsOf())
	}
	for i := range versions {
		add(topics, "kinds", i, served(kinds, i, minors[i]))
	}
	for i, e := range etcds {
		l := newLoader("", map[string]string{
			e.module: e.version, "go.etcd.io/etcd/pkg/v3": e.version, "go.etcd.io/etcd/client/pkg/v3": e.version,
		})
		etcdMinors = append(etcdMinors, e.minor)
		if err := l.flags("etcd", i, e.module+"/etcdmain", "newConfig", topics); err != nil {
			return err
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Written by test/known from the Go modules of Kubernetes\n# %s\n# and of etcd\n", strings.Join(versions, ", "))
	for _, e := range etcds {
		fmt.Fprintf(&b, "# %s %s\n", e.module, e.version)
	}
	b.WriteString("# Names by the first and last minor that know them. Parts of objects have only the fields that not all\n")
	b.WriteString("# minors know, without those inside of them.\n")
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		p, m := topics[topic], minors
		if topic == "etcd" {
			m = etcdMinors
		}
		if objects[topic] != "" {
			p = p.changed(len(versions))
		}
		write(&b, topic, p, m)
	}
	return os.WriteFile(args[0], b.Bytes(), 0o644)
}

// release adds the names that the i-th release knows.
func (l *loader) release(i int, topics map[string]presence) error {
	for _, c := range slices.Sorted(maps.Keys(commands)) {
		if err := l.flags(c, i, commands[c][0], commands[c][1], topics); err != nil {
			return err
		}
	}
	for kind, packages := range configs {
		for _, p := range packages {
			add(topics, kind, i, l.fieldsOf(p, kind))
		}
	}
	for kind, p := range objects {
		add(topics, kind, i, l.fieldsOf(p, kind))
	}
	return nil
}

// flags adds the flags of a command.
func (l *loader) flags(topic string, i int, p, function string, topics map[string]presence) error {
	names, unresolved, err := l.flagsOf(p, function)
	for _, u := range unresolved {
		fmt.Fprintln(os.Stderr, "left out, no constant name:", u)
	}
	add(topics, topic, i, names)
	return err
}

func add(topics map[string]presence, topic string, i int, names []string) {
	if topics[topic] == nil {
		topics[topic] = presence{}
	}
	for _, n := range names {
		topics[topic][n] = append(topics[topic][n], i)
	}
}

// changed leaves the fields out that all releases have, and those inside of a field with
// the same releases.
func (p presence) changed(releases int) presence {
	out := presence{}
	for name, in := range p {
		parent, _, _ := strings.Cut(name, ".")
		inside := false
		for i, c := range name {
			if c == '.' {
				inside = inside || slices.Equal(p[name[:i]], in)
			}
		}
		if len(in) < releases && !inside && parent != "status" {
			out[name] = in
		}
	}
	return out
}

// served returns the kinds that a minor serves unless it is configured otherwise. Later
// modules know better when a version went; betas from 1.24 on are off by default.
func served(kinds []map[string]lifecycle, i int, minor string) []string {
	number, _ := strconv.Atoi(strings.TrimPrefix(minor, "1."))
	var out []string
	for k := range kinds[i] {
		var life lifecycle
		for _, m := range kinds {
			life = lifecycle{max(life.introduced, m[k].introduced), max(life.removed, m[k].removed)}
		}
		gone := life.removed > 0 && number >= life.removed
		off := strings.Contains(k, "beta") && life.introduced >= 24
		if !gone && !off {
			out = append(out, k)
		}
	}
	return out
}

// write prints the names of a topic, those of the same minors together.
func write(w io.Writer, topic string, p presence, minors []string) {
	groups := map[string][]string{}
	var order []string
	for _, name := range slices.Sorted(maps.Keys(p)) {
		r := ranges(p[name], minors)
		if groups[r] == nil {
			order = append(order, r)
		}
		groups[r] = append(groups[r], name)
	}
	slices.Sort(order)
	fmt.Fprintf(w, "%s:\n", topic)
	for _, r := range order {
		line := fmt.Sprintf("  %q: [", r)
		for i, name := range groups[r] {
			if i > 0 {
				name = ", " + name
			}
			if len(line)+len(name) > 150 {
				fmt.Fprintln(w, line+",")
				line, name = "    ", strings.TrimPrefix(name, ", ")
			}
			line += name
		}
		fmt.Fprintln(w, line+"]")
	}
}

// ranges returns "1.16-1.19" or, with a hole, "1.16-1.19 1.22-1.23".
func ranges(in []int, minors []string) string {
	var out []string
	for i := 0; i < len(in); {
		j := i
		for j+1 < len(in) && in[j+1] == in[j]+1 {
			j++
		}
		out = append(out, minors[in[i]]+"-"+minors[in[j]])
		i = j + 1
	}
	return strings.Join(out, " ")
}
