package step_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

func TestKernelKinds(t *testing.T) {
	named := steptest.New(t)
	named.Write(t, "etc/hostname", "old\n", 0o644)
	named.Write(t, "proc/sys/kernel/hostname", "old", 0o644)
	steptest.Suite(t, steptest.Case{Name: "hostname", Step: &step.Hostname{Name: "cp-1"}, World: named})

	set := steptest.New(t)
	set.Write(t, "proc/sys/net/ipv4/ip_forward", "0\n", 0o644)
	set.Write(t, "proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n", 0o644)
	steptest.Suite(t, steptest.Case{Name: "sysctl", World: set, Step: &step.Sysctl{Values: map[string]string{
		"net.ipv4.ip_forward": "1", "net/ipv4/ip_local_port_range": "32768 60999",
	}}})

	steptest.Suite(t, steptest.Case{
		Name: "modules", World: modulesWorld(t, true), Leaves: true, // modules stay loaded
		Step: &step.Modules{Names: []string{"overlay", "br_netfilter"}, Optional: []string{"ip_vs"}},
	})
}

// modulesWorld is a host that has overlay built in and br_netfilter as a module,
// and no ip_vs; without a tree nothing can be loaded.
func modulesWorld(t *testing.T, tree bool) *steptest.World {
	w := steptest.New(t)
	w.Write(t, "proc/sys/kernel/osrelease", "6.1.0\n", 0o644)
	w.Write(t, "proc/filesystems", "nodev\toverlay\n\text4\n", 0o644)
	w.Write(t, "sys/module/x/y", "", 0o644)
	w.Write(t, "etc/modules-load.d/other.conf", "", 0o644)
	if tree {
		w.Write(t, "lib/modules/6.1.0/modules.dep", "kernel/net/bridge/br_netfilter.ko.xz: kernel/net/bridge/bridge.ko\n", 0o644)
	}
	loaded := false
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		if got := strings.Join(c.Argv, " "); got != "modprobe -- br_netfilter" || !tree {
			return steptest.Exit(c.Argv, 1, "module not found")
		}
		if !loaded {
			w.Write(t, "sys/module/br_netfilter/refcnt", "0", 0o644)
			loaded = true
		}
		return steptest.Say("")
	}
	return w
}

func TestModules(t *testing.T) {
	w := modulesWorld(t, true)
	m := &step.Modules{Names: []string{"overlay", "br_netfilter"}, Optional: []string{"ip_vs"}}
	if _, err := m.Apply(t.Context(), w.Env()); err != nil {
		t.Fatal(err)
	}
	if got, want := w.Read(t, "etc/modules-load.d/offk8s.conf"), "# written by offk8s\nbr_netfilter\n"; got != want {
		t.Errorf("list file %q, want %q: systemd-modules-load fails on what the tree lacks", got, want)
	}
	if !strings.Contains(w.Log.String(), "ip_vs") {
		t.Error("no word about the optional module that is missing")
	}

	w = modulesWorld(t, false)
	if _, err := m.Apply(t.Context(), w.Env()); err == nil || !strings.Contains(err.Error(), `"br_netfilter"`) {
		t.Errorf("error %v, want one that names the module", err)
	}
	w.Write(t, "proc/sys/net/bridge/bridge-nf-call-iptables", "1", 0o644)
	if _, err := m.Apply(t.Context(), w.Env()); err != nil {
		t.Errorf("the feature is there without a module tree: %v", err)
	}
}

// A kernel without a module tree shows in its symbols what it has built in.
func TestLacksModules(t *testing.T) {
	w := modulesWorld(t, true)
	if got, err := w.Env().LacksModules("overlay", "br_netfilter", "nf_tables"); err != nil || !slices.Equal(got, []string{"nf_tables"}) {
		t.Errorf("lacks %v, %v", got, err)
	}
	w = modulesWorld(t, false)
	w.Write(t, "proc/kallsyms", "0000000000000000 t nf_tables_newtable\n0000000000000000 t ip_vs_rr_schedule_other\n", 0o644)
	if got, err := w.Env().LacksModules("ip_vs", "ip_vs_rr", "nf_tables"); err != nil || !slices.Equal(got, []string{"ip_vs", "ip_vs_rr"}) {
		t.Errorf("lacks %v, %v", got, err)
	}
	if _, err := (&step.Modules{Names: []string{"nf_tables"}}).Apply(t.Context(), w.Env()); err != nil {
		t.Errorf("nf_tables is built in: %v", err)
	}
}

func TestSysctlUnknownToTheKernel(t *testing.T) {
	w := steptest.New(t)
	s := &step.Sysctl{Values: map[string]string{"net.bridge.bridge-nf-call-iptables": "1"}}
	if res, err := s.Check(t.Context(), w.Env()); err != nil || res.State != step.Differs {
		t.Errorf("check: %v %v, want differs", res.State, err)
	}
	if _, err := s.Apply(t.Context(), w.Env()); err == nil {
		t.Error("apply: no error")
	}
	for _, bad := range []string{"../../etc/passwd", "net..x", "x", "net.ipv4.conf.*.rp_filter"} {
		if (&step.Sysctl{Values: map[string]string{bad: "1"}}).Validate() == nil {
			t.Errorf("accepts setting %q", bad)
		}
	}
}
