package stage

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// flags are the arguments of a daemon, by name without dashes.
type flags map[string]string

// mergeFlags returns the common flags of a daemon with those of the release, which
// can also remove one, and then those of cluster.yaml over them.
func mergeFlags(in Input, daemon string, common, user flags) flags {
	out := maps.Clone(common)
	for k, v := range in.Lock.Release.Args[daemon] {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = *v
		}
	}
	maps.Copy(out, user)
	return out
}

// daemon is a program under systemd.
type daemon struct {
	name    string // of the unit, and of the program unless it has another
	program string
	about   string
	// command is the subcommand of the program; usually empty.
	command string
	flags   flags
	after   []string // units
	// kind is the Type of the unit; if empty, simple.
	kind string
	// service holds further lines of the [Service] section.
	service []string
}

// unit returns the unit file. Flags are sorted and have a line each, for readable diffs.
func (d daemon) unit() string {
	var b strings.Builder
	after := strings.Join(append([]string{"network-online.target"}, d.after...), " ")
	fmt.Fprintf(&b, "# Written by offk8s; changes are overwritten. Use cluster.yaml.\n[Unit]\nDescription=%s\n", d.about)
	fmt.Fprintf(&b, "After=%s\nWants=network-online.target\n\n[Service]\n", after)
	if d.kind != "" {
		fmt.Fprintf(&b, "Type=%s\n", d.kind)
	}
	for _, s := range d.service {
		b.WriteString(s + "\n")
	}
	b.WriteString(strings.TrimSpace("ExecStart=" + step.BinDir + "/" + cmp.Or(d.program, d.name) + " " + d.command))
	for _, k := range slices.Sorted(maps.Keys(d.flags)) {
		b.WriteString(" \\\n  " + quoteArg("--"+k+"="+d.flags[k]))
	}
	b.WriteString("\nRestart=always\nRestartSec=5\n\n[Install]\nWantedBy=multi-user.target\n")
	return b.String()
}

// step returns the step for the unit, which restarts it if the program or one of the
// given files changes.
func (d daemon) step(triggers ...string) *step.Unit {
	return &step.Unit{
		Name: d.name + ".service", Content: d.unit(), Enable: true, Running: true,
		Triggers: append([]string{step.BinDir + "/" + cmp.Or(d.program, d.name)}, triggers...),
	}
}

// quoteArg quotes an argument for ExecStart, in which percent and dollar signs start
// expansions (systemd.service(5)).
func quoteArg(s string) string {
	s = strings.NewReplacer("%", "%%", "$", "$$").Replace(s)
	if !strings.ContainsAny(s, " \t\n\"'\\;") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(s) + `"`
}

// confined restricts a daemon that needs no access to the rest of the host. The
// systemd of EL7 supports all of these options.
var confined = []string{"NoNewPrivileges=yes", "ProtectSystem=full", "ProtectHome=yes", "PrivateTmp=yes"}

// noProxies empties the variables that HTTP clients look for. A drop-in file of the
// administrator comes after it.
const noProxies = "Environment=HTTP_PROXY= HTTPS_PROXY= ALL_PROXY= http_proxy= https_proxy= all_proxy="

// fitted returns the steps with units that fit the host. On hosts with SELinux their daemons
// have to leave systemd's own domain, init_t, when they start, which NoNewPrivileges forbids
// (systemd/systemd#3845). If the host gives services a proxy, daemons do without: it does not
// reach the mirror and the other hosts.
func fitted(steps func(Input, manifests.Host) ([]step.Item, error)) func(Input, manifests.Host) ([]step.Item, error) {
	return func(in Input, h manifests.Host) ([]step.Item, error) {
		items, err := steps(in, h)
		f := in.Facts[h.Name]
		for _, it := range items {
			u, ok := it.Step.(*step.Unit)
			if !ok {
				continue
			}
			if f.SELinux != "" && f.SELinux != "disabled" {
				u.Content = strings.Replace(u.Content, "NoNewPrivileges=yes\n", "", 1)
			}
			if f.System.ServiceProxy() {
				u.Content = strings.Replace(u.Content, "[Service]\n", "[Service]\n"+noProxies+"\n", 1)
			}
		}
		return items, err
	}
}

// lastToDie makes the kernel end pods before the daemon when memory runs out. Systemd leaves
// the score as it is where it may not lower it, as in containers.
const lastToDie = "OOMScoreAdjust=-999"

// install adds the steps that install files of the bundle in dir.
func (l *list) install(in Input, h manifests.Host, dir string, names ...string) {
	for _, n := range names {
		if a, err := in.file(h, n); err != nil {
			l.fail(err)
		} else {
			l.add(n, artifact(a, dir+"/"+n))
		}
	}
}

func artifact(a manifests.Artifact, path string) *step.Artifact {
	return &step.Artifact{Digest: plain(a), Path: path, Mode: cmp.Or(step.Mode(a.Mode), 0o755)}
}

// programs adds the steps that install programs of the bundle: each in a directory of its
// digest, and a link to it in step.BinDir. The directory stays the same in another bundle
// with the same program, and the former program stays for the way back.
func (l *list) programs(in Input, h manifests.Host, names ...string) {
	for _, n := range names {
		l.componentProgram(in, h, "", n)
	}
}

// componentProgram is programs for one file of a component.
func (l *list) componentProgram(in Input, h manifests.Host, component, name string) {
	if a, err := in.componentFile(h, component, name); err != nil {
		l.fail(err)
	} else {
		l.program(a, name)
	}
}

// program adds the steps for one program, which gets the name.
func (l *list) program(a manifests.Artifact, name string) {
	path := programPath(a, name)
	l.add("program-"+name, artifact(a, path))
	l.add(name, &step.Symlink{Path: step.BinDir + "/" + name, To: strings.TrimPrefix(path, step.BinDir+"/")})
}

// programPath returns the path of a program, to which the link in step.BinDir leads.
func programPath(a manifests.Artifact, name string) string {
	return step.ProgramDir + "/" + plain(a).Encoded()[:12] + "/" + name
}

// secret adds the step for a file that contains the secret ref, and returns it.
func (l *list) secret(path, ref string) *step.File {
	f := &step.File{Path: path, Secret: step.SecretRef(ref), Mode: 0o600}
	l.add(strings.TrimPrefix(path, "/"), f)
	return f
}
