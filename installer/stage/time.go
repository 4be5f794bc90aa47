package stage

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/distro"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// timeSteps returns the steps that install and configure chrony, before any step that
// depends on dates. Control planes serve the time, and all other hosts follow them.
func timeSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "time"}
	d, err := in.distro(h)
	if err != nil {
		l.fail(err)
		return l.done()
	}
	l.add("package", packages(in, d, "chrony"))
	for _, u := range d.RivalClocks {
		l.add("no-"+u, &step.Unit{Name: u, Stopped: true}).Why = "only one program may set the clock"
	}
	triggers := []string{d.Chrony.Config}
	l.add("config", &step.File{Path: d.Chrony.Config, Content: chronyConf(in, d, h)})
	if len(in.Cluster.Time.Args) > 0 {
		triggers = append(triggers, d.Chrony.OptionFile)
		l.add("options", &step.File{
			Path: d.Chrony.OptionFile, Content: d.Chrony.Options(in.Cluster.Time.Args),
		}).Why = "cluster.yaml time.args"
	}
	l.add("unit", &step.Unit{Name: d.Chrony.Unit, Enable: true, Running: true, Triggers: triggers})
	l.add("synchronized", timeWait(in, h)).Why = "certificates are valid only for a period of time"
	return l.done()
}

// chronyConf returns chrony.conf with directives that chrony 3 and 4 support.
func chronyConf(in Input, d distro.Distro, h manifests.Host) string {
	var b strings.Builder
	b.WriteString("# Written by offk8s; changes are overwritten. Use cluster.yaml.\n")
	if h.HasRole(manifests.RoleControlPlane) {
		for _, s := range in.Cluster.Time.Servers {
			fmt.Fprintf(&b, "server %s iburst\n", s)
		}
		// Without a source the clock of the control plane is the time of the cluster.
		b.WriteString("local stratum 8\n")
		for _, x := range in.Cluster.Hosts {
			fmt.Fprintf(&b, "allow %s\n", hostPrefix(x.Address))
		}
	} else {
		for i, cp := range in.Cluster.HostsWith(manifests.RoleControlPlane) {
			prefer := ""
			if i == 0 {
				prefer = " prefer"
			}
			fmt.Fprintf(&b, "server %s iburst%s\n", cp.Address, prefer)
		}
	}
	fmt.Fprintf(&b, "driftfile %s\nmakestep 1.0 3\nrtcsync\n", d.Chrony.Drift)
	return b.String()
}

// hostPrefix returns an address in the form of chrony's allow directive.
func hostPrefix(addr string) string {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return addr
	}
	return netip.PrefixFrom(a, a.BitLen()).String()
}

// timeWait returns the step that waits until the host follows its source. In the
// output of `chronyc sources`, "^*" marks the selected one (chronyc(1)).
func timeWait(in Input, h manifests.Host) *step.Wait {
	w := &step.Wait{
		Argv: []string{"chronyc", "-n", "sources"}, Timeout: step.Duration(3 * time.Minute),
		Interval: step.Duration(2 * time.Second),
	}
	cp := leaders(in)
	switch {
	case len(cp) > 0 && !h.HasRole(manifests.RoleControlPlane):
		w.Expect, w.Text = "^* "+cp[0].Address, "the clock follows "+cp[0].Name
		if len(cp) > 1 {
			w.Expect, w.Text = "^* ", "the clock follows a control plane"
		}
	case len(in.Cluster.Time.Servers) > 0:
		w.Expect, w.Text = "^* ", "the clock follows one of "+strings.Join(in.Cluster.Time.Servers, ", ")
	default:
		w.Argv = []string{"chronyc", "-n", "tracking"}
		w.Expect, w.Text = "Stratum         : 8", "the clock of this host is the time of the cluster"
	}
	return w
}
