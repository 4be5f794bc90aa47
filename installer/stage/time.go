package stage

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/distro"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// timeSteps returns the steps that install and configure chrony, before any step that
// depends on dates. Control planes serve the time, and all other hosts follow all of them.
func timeSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "time"}
	d, err := in.distro(h)
	if err != nil {
		l.fail(err)
		return l.done()
	}
	p := packages(in, d, "chrony")
	// Debian's configuration asks name servers for a pool of servers on the internet.
	p.Masked = []string{d.Chrony.Unit}
	l.add("package", p)
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
	it := l.add("synchronized", timeWait(in, h))
	it.Why = "certificates are valid only for a period of time"
	if !h.HasRole(manifests.RoleControlPlane) {
		it.Awaits = hostNames(leaders(in))
	}
	return l.done()
}

// chronyConf returns chrony.conf with directives that chrony 3 and 4 support.
func chronyConf(in Input, d distro.Distro, h manifests.Host) string {
	var b strings.Builder
	b.WriteString(facts.ChronyMark + "; changes are overwritten. Use cluster.yaml.\n")
	cps := leaders(in)
	switch {
	case h.HasRole(manifests.RoleControlPlane):
		controlPlaneTime(&b, in, h)
	case len(cps) == 1:
		fmt.Fprintf(&b, "server %s %s prefer\n", cps[0].Address, polls)
	default:
		for _, cp := range cps {
			fmt.Fprintf(&b, "server %s %s\n", cp.Address, polls)
		}
	}
	fmt.Fprintf(&b, "driftfile %s\nmakestep 1.0 3\nrtcsync\n", d.Chrony.Drift)
	return b.String()
}

// controlPlaneTime writes the sources of a control plane. Without any, the clock of one
// control plane is the time of the cluster: several follow each other, and of those that
// follow nobody else the one with the lowest address leads (chrony.conf(5), "orphan").
// One that starts asks the others first, so that a clock that is wrong after a power cut,
// or that of a new host, does not become the time of the cluster.
func controlPlaneTime(b *strings.Builder, in Input, h manifests.Host) {
	for _, s := range in.Cluster.Time.Servers {
		fmt.Fprintf(b, "server %s iburst\n", s)
	}
	if kept := in.keptServers(h); len(kept) > 0 {
		fmt.Fprintf(b, "%s\n%s\n\n", facts.KeptMark, strings.Join(kept, "\n"))
	}
	var others []string
	for _, cp := range leaders(in) {
		if cp.Name != h.Name {
			fmt.Fprintf(b, "server %s %s\n", cp.Address, polls)
			others = append(others, cp.Address)
		}
	}
	if len(others) > 0 {
		fmt.Fprintf(b, "initstepslew 1 %s\nlocal stratum %s orphan\n", strings.Join(others, " "), localStratum)
	} else {
		fmt.Fprintf(b, "local stratum %s\n", localStratum)
	}
	for _, x := range in.Cluster.Hosts {
		fmt.Fprintf(b, "allow %s\n", hostPrefix(x.Address))
	}
}

// polls asks a control plane every 16 to 64 seconds. With chrony's 64 seconds or more, a
// control plane that starts again becomes a source of the others only after minutes.
const polls = "iburst minpoll 4 maxpoll 6"

// localStratum is the stratum of a control plane that follows nobody.
const localStratum = "8"

// keptServers returns the time servers that a control plane follows by its own
// configuration, as lines of chrony.conf, unless cluster.yaml names others or none.
func (in Input) keptServers(h manifests.Host) []string {
	c := in.Facts[h.Name].Clock
	if in.Cluster.Time.Servers != nil || !c.Kept && !c.Synchronized {
		return nil
	}
	return c.Servers
}

// checkClock reports time servers of a host that the cluster will not follow.
func checkClock(c *checks, in Input, h manifests.Host, f facts.Facts) {
	if in.Cluster.Time.Servers != nil || len(f.Clock.Servers) == 0 {
		return
	}
	check := Check{Name: "time-servers", Found: strings.Join(f.Clock.Servers, "; ")}
	if h.HasRole(manifests.RoleControlPlane) && len(in.keptServers(h)) == 0 {
		check.Want = "a clock that follows them, to keep them"
	} else if !slices.ContainsFunc(leaders(in), func(cp manifests.Host) bool { return len(in.keptServers(cp)) > 0 }) {
		check.Want = "the same on a control plane: all other hosts follow the control planes"
	}
	check.Hint = "name them as time.servers in cluster.yaml, or write time.servers: [] to follow none"
	c.recommend(check.Want == "", check)
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
		Interval: step.Duration(2 * time.Second), Expect: "^* ",
	}
	cps := leaders(in)
	cp := h.HasRole(manifests.RoleControlPlane)
	lead := timeLeader(in, h)
	switch {
	case !cp && len(cps) > 1:
		// Until the control planes agree, none has a majority.
		w.Text, w.Timeout = "the clock follows a control plane", step.Duration(5*time.Minute)
	case !cp && len(cps) == 1:
		w.Expect, w.Text = "^* "+cps[0].Address, "the clock follows "+cps[0].Name
	case cp && len(cps) > 1 && (in.Alone.Host != "" || len(in.present(cps)) < len(cps)):
		// Whether others follow time servers of their own is not known; and a source that is
		// away stays the selected one until about eight of its answers are missing, which
		// may take half an hour.
		w.Argv = []string{"chronyc", "-n", "tracking"}
		w.Expect, w.Text = "Leap status     : Normal", "the clock follows another control plane, or is the time of the cluster"
	case len(in.Cluster.Time.Servers) > 0:
		w.Text = "the clock follows one of " + strings.Join(in.Cluster.Time.Servers, ", ")
	case slices.ContainsFunc(cps, func(x manifests.Host) bool { return len(in.keptServers(x)) > 0 }):
		w.Text = "the clock follows the time servers of the host or another control plane"
	case lead.Name == h.Name:
		w.Argv = []string{"chronyc", "-n", "tracking"}
		w.Expect, w.Text = "Stratum         : "+localStratum, "the clock of this host is the time of the cluster"
	default:
		w.Expect, w.Text = "^* "+lead.Address+" ", "the clock follows "+lead.Name
	}
	return w
}

// timeLeader returns the control plane whose clock is the time of the cluster if there
// are no time servers: chrony takes the lowest address. h is one of them.
func timeLeader(in Input, h manifests.Host) manifests.Host {
	for _, cp := range leaders(in) {
		a, errA := netip.ParseAddr(cp.Address)
		b, errB := netip.ParseAddr(h.Address)
		if errA == nil && errB == nil && a.Less(b) {
			h = cp
		}
	}
	return h
}
