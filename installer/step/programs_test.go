package step_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

func TestPackages(t *testing.T) {
	tests := []struct {
		manager string
		want    [][]string // calls that change something
	}{
		{"apt", [][]string{
			{"apt-get", "-q", "update"},
			{"apt-get", "-q", "--download-only", "-y", "--no-install-recommends", "install", "socat"},
			{"systemctl", "mask", "--runtime", "--", "socat.service"},
			{"apt-get", "-q", "-y", "--no-install-recommends", "install", "socat"},
			{"systemctl", "unmask", "--runtime", "--", "socat.service"},
		}},
		{"yum", [][]string{
			{"yum", "-y", "--config=/var/cache/offk8s/yum.conf", "--disablerepo=*", "--enablerepo=offk8s*", "-q", "clean", "expire-cache"},
			{"yum", "-y", "--config=/var/cache/offk8s/yum.conf", "--disablerepo=*", "--enablerepo=offk8s*", "install", "socat"},
		}},
	}
	for _, tt := range tests {
		w := steptest.New(t)
		installed := map[string]bool{"chrony": true}
		var changes [][]string
		w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
			last := c.Argv[len(c.Argv)-1]
			// Only the transaction itself must not be interrupted.
			download := c.Argv[0] == "apt-get" && c.Argv[2] != "-y"
			transaction := slices.Contains(c.Argv, "install") && !download
			if c.Finish > 0 != transaction || c.Timeout > 0 != (transaction || download) {
				t.Errorf("%q: limit %s, finishes for %s", c.Argv, c.Timeout, c.Finish)
			}
			switch c.Argv[0] {
			case "dpkg-query":
				if last == "chrony" {
					return steptest.Say("hi ") // on hold
				}
				if installed[last] {
					return steptest.Say("ii ")
				}
				return steptest.Say("rc ") // removed, its configuration stayed
			case "rpm":
				if installed[last] {
					return steptest.Say(last)
				}
				return steptest.Exit(c.Argv, 1, "no package provides "+last)
			}
			changes = append(changes, c.Argv)
			installed[last] = transaction
			return steptest.Say("")
		}
		p := &step.Packages{
			Manager: tt.manager, Names: []string{"chrony", "socat"}, Source: "/etc/offk8s/r", CAFile: "/etc/offk8s/ca.crt",
			Masked: []string{"socat.service"},
		}
		steptest.Suite(t, steptest.Case{Name: tt.manager, Step: p, World: w, Leaves: true})
		if diff := cmp.Diff(tt.want, changes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.manager, diff)
		}
		if w.Env().Stamp("package/socat") == "" {
			t.Errorf("%s: no stamp of an installed package", tt.manager)
		}
		if tt.manager == "apt" {
			conf := w.Read(t, "var/cache/offk8s/apt/apt.conf")
			for _, want := range []string{`Dir::Etc::SourceParts "/etc/offk8s/r"`, `Dir::Etc::Parts "/dev/null"`, `CAInfo "/etc/offk8s/ca.crt"`, `AllowUnauthenticated "false"`} {
				if !strings.Contains(conf, want) {
					t.Errorf("apt.conf lacks %s", want)
				}
			}
		}
		if tt.manager == "yum" {
			conf := w.Read(t, "var/cache/offk8s/yum.conf")
			for _, want := range []string{"[main]\n", "\nreposdir=/etc/offk8s/r\n", "\ncachedir=/var/cache/offk8s/yum\n", "\nplugins=0\n", "\ngpgcheck=1\n"} {
				if !strings.Contains(conf, want) {
					t.Errorf("yum.conf lacks %q:\n%s", want, conf)
				}
			}
		}
		if stays, gone := p.Retained([]byte(`{"missing":["socat"],"removed":["ntp"]}`)); !slices.Equal(stays, []string{"socat"}) || !slices.Equal(gone, []string{"ntp"}) {
			t.Errorf("stays: %q, gone: %q", stays, gone)
		}
	}
	for _, bad := range []string{"-o", "--root=/x", "", "a b", "./x.rpm", "$(x)"} {
		if (&step.Packages{Manager: "apt", Names: []string{bad}, Source: "/x"}).Validate() == nil {
			t.Errorf("accepts package %q", bad)
		}
	}
	if (&step.Packages{Manager: "apt", Names: []string{"socat"}, Source: "/x", Masked: []string{"--now"}}).Validate() == nil {
		t.Error("accepts a unit that is an option")
	}
}

// apt removes a package that conflicts with a new one, such as timesyncd for chrony. Reset
// names it.
func TestPackagesThatAptRemoves(t *testing.T) {
	const plan = "Reading package lists...\nThe following packages will be REMOVED:\n  ntp* systemd-timesyncd\n" +
		"The following NEW packages will be installed:\n  chrony\n0 upgraded, 1 newly installed, 2 to remove.\n"
	w := steptest.New(t)
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		switch {
		case c.Argv[0] == "dpkg-query":
			return steptest.Say("un ")
		case slices.Contains(c.Argv, "--download-only"):
			return steptest.Say(plan)
		}
		return steptest.Say("")
	}
	p := &step.Packages{Manager: "apt", Names: []string{"chrony"}, Source: "/etc/offk8s/r"}
	res, err := p.Apply(t.Context(), w.Env())
	if err != nil {
		t.Fatal(err)
	}
	merged, err := p.MergePrior([]byte(`{"missing":["socat"],"removed":["ntp"]}`), res.Prior)
	if err != nil {
		t.Fatal(err)
	}
	stays, gone := p.Retained(merged)
	if want := []string{"ntp", "systemd-timesyncd"}; !slices.Equal(gone, want) || len(stays) != 2 {
		t.Errorf("gone: %q, want %q; stays: %q", gone, want, stays)
	}
}

func TestFirewall(t *testing.T) {
	fw := &step.Firewall{
		Ports: []string{"6443/tcp", "30000-32767/tcp"}, Protocols: []string{"vrrp", "ipip"},
		Sources: []string{"10.0.0.0/8", "10.9.9.9"}, Trusted: []string{"10.244.0.0/16"},
	}
	t.Run("none", func(t *testing.T) {
		w := steptest.New(t)
		if res, err := fw.Check(t.Context(), w.Env()); err != nil || res.State != step.OK || res.Reason != "no firewall is active" {
			t.Errorf("%+v %v", res, err)
		}
	})
	d := map[string][]string{}
	w := steptest.New(t)
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) { return firewallCmd(d, c) }
	steptest.Suite(t, steptest.Case{Name: "firewalld", Step: fw, World: w})
	for _, rule := range []string{`protocol value="vrrp"`, `protocol value="4"`, `port port="6443" protocol="tcp"`} {
		rule = "--add-rich-rule=" + `rule family="ipv4" source address="10.9.9.9/32" ` + rule + " accept"
		for _, permanent := range []bool{false, true} {
			if !slices.ContainsFunc(w.Calls, func(c []string) bool {
				return slices.Contains(c, rule) && slices.Contains(c, "--permanent") == permanent
			}) {
				t.Errorf("no firewall-cmd %s, permanent %t", rule, permanent)
			}
		}
	}
	if n := len(d["runtime"]) + len(d["permanent"]); n != 0 {
		t.Errorf("%d rules left after undo: %q", n, d)
	}
	var rules []string
	u := steptest.New(t)
	u.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) { return ufwCmd(&rules, c) }
	steptest.Suite(t, steptest.Case{Name: "ufw", Step: fw, World: u})
	if len(rules) != 0 {
		t.Errorf("rules left after undo: %q", rules)
	}
	for _, want := range []string{"allow from 10.9.9.9 proto vrrp", "allow from 10.9.9.9", "route allow from 10.244.0.0/16", "route allow to 10.244.0.0/16"} {
		if !called(u, append([]string{"ufw"}, strings.Fields(want)...)...) {
			t.Errorf("no ufw %s", want)
		}
	}
	for _, bad := range []*step.Firewall{
		{Protocols: []string{"vrrp"}},
		{Protocols: []string{"tcp"}, Sources: fw.Sources},
		{Protocols: []string{`vrrp" accept`}, Sources: fw.Sources},
	} {
		if bad.Validate() == nil {
			t.Errorf("accepts %+v", bad)
		}
	}
}

// The rules for a firewall that is the administrator's, as that program takes them.
func TestFirewallLines(t *testing.T) {
	fw := &step.Firewall{
		Ports: []string{"6443/tcp", "30000-32767/tcp", "8472/udp"}, Protocols: []string{"vrrp", "ipip"},
		Sources: []string{"10.0.0.0/8", "10.9.9.9", "fd00::1"}, Trusted: []string{"10.244.0.0/16"},
	}
	for service, want := range map[string][]string{
		"iptables": {
			"iptables -I INPUT -s 10.0.0.0/8,10.9.9.9/32 -p tcp -m multiport --dports 6443,30000:32767 -j ACCEPT",
			"iptables -I INPUT -s 10.0.0.0/8,10.9.9.9/32 -p udp -m multiport --dports 8472 -j ACCEPT",
			"iptables -I INPUT -s 10.0.0.0/8,10.9.9.9/32 -p 112 -j ACCEPT",
			"iptables -I INPUT -s 10.0.0.0/8,10.9.9.9/32 -p 4 -j ACCEPT",
			"ip6tables -I INPUT -s fd00::1/128 -p tcp -m multiport --dports 6443,30000:32767 -j ACCEPT",
			"ip6tables -I INPUT -s fd00::1/128 -p udp -m multiport --dports 8472 -j ACCEPT",
			"ip6tables -I INPUT -s fd00::1/128 -p 112 -j ACCEPT",
			"ip6tables -I INPUT -s fd00::1/128 -p 4 -j ACCEPT",
			"iptables -I INPUT -s 10.244.0.0/16 -j ACCEPT",
			"iptables -I FORWARD -s 10.244.0.0/16 -j ACCEPT",
			"iptables -I FORWARD -d 10.244.0.0/16 -j ACCEPT",
		},
		"nftables": {
			"input: ip saddr { 10.0.0.0/8, 10.9.9.9/32 } tcp dport { 6443, 30000-32767 } accept",
			"input: ip saddr { 10.0.0.0/8, 10.9.9.9/32 } udp dport { 8472 } accept",
			"input: ip saddr { 10.0.0.0/8, 10.9.9.9/32 } meta l4proto 112 accept",
			"input: ip saddr { 10.0.0.0/8, 10.9.9.9/32 } meta l4proto 4 accept",
			"input: ip6 saddr { fd00::1/128 } tcp dport { 6443, 30000-32767 } accept",
			"input: ip6 saddr { fd00::1/128 } udp dport { 8472 } accept",
			"input: ip6 saddr { fd00::1/128 } meta l4proto 112 accept",
			"input: ip6 saddr { fd00::1/128 } meta l4proto 4 accept",
			"input: ip saddr { 10.244.0.0/16 } accept",
			"forward: ip saddr { 10.244.0.0/16 } accept",
			"forward: ip daddr { 10.244.0.0/16 } accept",
		},
	} {
		if diff := cmp.Diff(want, fw.Lines(service)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", service, diff)
		}
	}
	open := &step.Firewall{Ports: []string{"6443/tcp"}}
	if got := open.Lines("nftables"); !slices.Equal(got, []string{"input: tcp dport { 6443 } accept"}) {
		t.Errorf("without sources: %q", got)
	}
	if got := open.Lines("iptables"); !slices.Equal(got, []string{
		"iptables -I INPUT -p tcp -m multiport --dports 6443 -j ACCEPT",
	}) {
		t.Errorf("without sources: %q", got)
	}
}

// Many hosts need few calls, and a rule that firewalld refused among others is an error.
func TestFirewallBatch(t *testing.T) {
	fw := &step.Firewall{Ports: []string{"2379-2380/tcp", "8472/udp"}, Trusted: []string{"10.244.0.0/16"}}
	for i := range 120 {
		fw.Sources = append(fw.Sources, fmt.Sprintf("10.0.0.%d", i+1))
	}
	d := map[string][]string{}
	w := steptest.New(t)
	calls := 0
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		if strings.Contains(strings.Join(c.Argv, " "), "--add-") {
			calls++
		}
		return firewallCmd(d, c)
	}
	if _, err := fw.Apply(t.Context(), w.Env()); err != nil {
		t.Fatal(err)
	}
	if len(d["runtime"]) != 241 || len(d["permanent"]) != 241 || calls != 8 {
		t.Errorf("%d and %d rules in %d calls, want 241 in 8", len(d["runtime"]), len(d["permanent"]), calls)
	}
	refused := "10.0.0.7/32"
	d = map[string][]string{}
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		var taken []string
		for _, a := range c.Argv {
			if !strings.Contains(a, refused) {
				taken = append(taken, a)
			}
		}
		if len(taken) < len(c.Argv) && !slices.ContainsFunc(taken, func(a string) bool { return strings.HasPrefix(a, "--add-") }) {
			return steptest.Exit(c.Argv, 254, "Error: "+refused)
		}
		return firewallCmd(d, step.Cmd{Argv: taken})
	}
	if _, err := fw.Apply(t.Context(), w.Env()); err == nil || !strings.Contains(err.Error(), refused) {
		t.Errorf("error %v, want one that names %s", err, refused)
	}
}

// called reports whether the step has called that program.
func called(w *steptest.World, argv ...string) bool {
	return slices.ContainsFunc(w.Calls, func(c []string) bool { return slices.Equal(c, argv) })
}

// Rules are in the zone of the interface that packets arrive on, and follow it.
func TestFirewallZone(t *testing.T) {
	fw := &step.Firewall{Ports: []string{"6443/tcp"}, Interface: "eth0"}
	d := map[string][]string{"interface": {"internal"}}
	w := steptest.New(t)
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) { return firewallCmd(d, c) }
	steptest.Suite(t, steptest.Case{Name: "zone", Step: fw, World: w})

	env := w.Env()
	env.Kept = []step.Step{fw}
	for _, tt := range []struct{ zone, want string }{
		{"internal", "internal port=6443/tcp"},
		{"internal", "internal port=6443/tcp"},
		{"dmz", "dmz port=6443/tcp"},
		{"public", "port=6443/tcp"}, // the default zone
		{"dmz", "dmz port=6443/tcp"},
		{"", "port=6443/tcp"}, // no zone
	} {
		if d["interface"] = nil; tt.zone != "" {
			d["interface"] = []string{tt.zone}
		}
		res, err := fw.Apply(t.Context(), env)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case res.Rest != nil:
			env.Prior = res.Rest
		case res.Prior != nil:
			env.Prior = res.Prior
		}
		for _, when := range []string{"runtime", "permanent"} {
			if !slices.Equal(d[when], []string{tt.want}) {
				t.Errorf("in %q: %s rules %q, want %q", tt.zone, when, d[when], tt.want)
			}
		}
		if res, err := fw.Check(t.Context(), env); err != nil || res.State != step.OK {
			t.Errorf("check in %q: %+v, error %v", tt.zone, res, err)
		}
	}
	d["interface"] = []string{"dmz"}
	env.Kept = nil
	if err := fw.Undo(t.Context(), env, env.Prior); err != nil || len(d["runtime"])+len(d["permanent"]) > 0 {
		t.Errorf("undo in another zone: error %v, rules left %q", err, d)
	}
	for _, tt := range []struct {
		prior string
		good  bool
	}{
		{`{"manager":"firewalld","rules":["zone=gone port=1/tcp"]}`, true},
		{`{"manager":"firewalld","rules":["zone=broken port=1/tcp"]}`, false},
	} {
		if err := fw.Undo(t.Context(), env, []byte(tt.prior)); (err == nil) != tt.good {
			t.Errorf("undo of %s: error %v", tt.prior, err)
		}
	}
}

// firewallCmd keeps rules by "runtime" and "permanent", with the zone before each. The
// zone of the interface is in "interface", the default one is "public".
func firewallCmd(d map[string][]string, c step.Cmd) (step.Output, error) {
	if c.Argv[0] != "firewall-cmd" {
		return step.Output{}, &step.NotFoundError{Name: c.Argv[0]}
	}
	when, zone := "runtime", ""
	for _, a := range c.Argv[1:] {
		kind, rule, _ := strings.Cut(a, "=")
		switch {
		case a == "--state":
			return steptest.Say("running\n")
		case a == "--permanent":
			when = "permanent"
		case kind == "--get-default-zone":
			return steptest.Say("public\n")
		case kind == "--get-zone-of-interface" && len(d["interface"]) == 0:
			return steptest.Exit(c.Argv, 2, "no zone")
		case kind == "--get-zone-of-interface":
			return steptest.Say(d["interface"][0] + "\n")
		case a == "--zone=gone":
			return steptest.Exit(c.Argv, 112, "Error: INVALID_ZONE: gone")
		case a == "--zone=broken":
			return steptest.Exit(c.Argv, 254, "Error")
		case kind == "--zone":
			zone = rule + " "
		case strings.HasPrefix(kind, "--list-"):
			var out []string
			for _, r := range d[when] {
				if rest, ok := strings.CutPrefix(r, zone+strings.TrimSuffix(strings.TrimPrefix(kind, "--list-"), "s")+"="); ok {
					out = append(out, rest)
				}
			}
			return steptest.Say(strings.Join(out, "\n"))
		case strings.HasPrefix(kind, "--add-"):
			d[when] = append(d[when], zone+strings.TrimPrefix(a, "--add-"))
		case strings.HasPrefix(kind, "--remove-"):
			d[when] = slices.DeleteFunc(d[when], func(r string) bool { return r == zone+strings.TrimPrefix(a, "--remove-") })
		}
	}
	return steptest.Say("success\n")
}

func ufwCmd(rules *[]string, c step.Cmd) (step.Output, error) {
	if c.Argv[0] != "ufw" {
		return step.Output{}, &step.NotFoundError{Name: c.Argv[0]}
	}
	line := strings.Join(c.Argv[1:], " ")
	switch {
	case line == "status":
		return steptest.Say("Status: active\n")
	case line == "show added":
		out := "Added user rules (see 'ufw status' for running firewall):\n"
		for _, r := range *rules {
			out += "ufw " + r + "\n"
		}
		return steptest.Say(out)
	case strings.Contains(line, "delete "):
		gone := strings.Replace(line, "delete ", "", 1)
		*rules = slices.DeleteFunc(*rules, func(r string) bool { return r == gone })
	default:
		*rules = append(*rules, line)
	}
	return steptest.Say("")
}

func TestSELinux(t *testing.T) {
	for _, semanage := range []bool{true, false} {
		w := steptest.New(t)
		w.Write(t, "sys/fs/selinux/enforce", "1", 0o644)
		w.Write(t, "usr/local/bin/kubelet", "", 0o755)
		label, policy := "default_t", "default_t"
		w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
			switch c.Argv[0] {
			case "stat":
				return steptest.Say("system_u:object_r:" + label + ":s0\n")
			case "semanage":
				if !semanage {
					return step.Output{}, &step.NotFoundError{Name: "semanage"}
				}
				policy = "default_t"
				if c.Argv[2] != "-d" {
					policy = c.Argv[4]
				}
			case "restorecon":
				label = policy
			case "chcon":
				label = c.Argv[2]
			}
			return steptest.Say("")
		}
		s := &step.SELinux{Labels: []step.Label{{Path: "/usr/local/bin/kubelet", Type: "bin_t"}}}
		steptest.Suite(t, steptest.Case{Name: fmt.Sprintf("semanage %t", semanage), Step: s, World: w})
		if label != "default_t" {
			t.Errorf("label after undo: %s", label)
		}
	}
	w := steptest.New(t)
	res, err := (&step.SELinux{}).Check(t.Context(), w.Env())
	if err != nil || res.State != step.Skipped {
		t.Errorf("without SELinux: %s %v, want skipped", res.State, err)
	}
}

// The policy is asked first and changed only if it has another type; where semanage refuses
// the path, the file alone gets the type. Paths without a type of their own get the policy's.
func TestSELinuxAndPolicy(t *testing.T) {
	for name, tt := range map[string]struct {
		policy  string // type of the path in it
		refuses string // by semanage
		want    string // programs
	}{
		"the policy knows the path":  {"bin_t", "", "restorecon"},
		"the policy has another":     {"usr_t", "", "restorecon semanage restorecon"},
		"an equivalence of paths":    {"usr_t", "File spec conflicts with equivalency rule '/usr/local /usr'", "restorecon semanage chcon"},
		"a rule of an administrator": {"usr_t", "already defined", "restorecon semanage semanage restorecon"},
	} {
		w := steptest.New(t)
		w.Write(t, "sys/fs/selinux/enforce", "1", 0o644)
		w.Write(t, "opt/x", "", 0o755)
		label, policy := "default_t", tt.policy
		var programs []string
		w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
			if c.Argv[0] != "stat" {
				programs = append(programs, c.Argv[0])
			}
			switch c.Argv[0] {
			case "stat":
				return steptest.Say("system_u:object_r:" + label + ":s0\n")
			case "semanage":
				if tt.refuses != "" && c.Argv[2] == "-a" {
					return steptest.Exit(c.Argv, 1, tt.refuses)
				}
				policy = c.Argv[4]
			case "restorecon":
				label = policy
			case "chcon":
				label = c.Argv[2]
			}
			return steptest.Say("")
		}
		s := &step.SELinux{Labels: []step.Label{{Path: "/opt/x", Type: "bin_t"}}}
		if _, err := s.Apply(t.Context(), w.Env()); err != nil || label != "bin_t" || strings.Join(programs, " ") != tt.want {
			t.Errorf("%s: label %s, programs %q, error %v; want %q", name, label, programs, err, tt.want)
		}
	}
	w := steptest.New(t)
	w.Write(t, "sys/fs/selinux/enforce", "1", 0o644)
	w.Write(t, "var/lib/kubelet/x", "", 0o644)
	restored := false
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		dry := slices.Contains(c.Argv, "-n")
		if c.Argv[0] != "restorecon" || c.Argv[len(c.Argv)-1] != w.Env().Path("/var/lib/kubelet") {
			t.Errorf("ran %q", c.Argv)
		}
		if restored {
			return steptest.Say("")
		}
		restored = !dry
		return steptest.Say("Would relabel /var/lib/kubelet from a to b\n")
	}
	s := &step.SELinux{Restore: []string{"/var/lib/kubelet", "/opt/cni/gone"}}
	if res, err := s.Check(t.Context(), w.Env()); err != nil || res.State != step.Differs || restored {
		t.Errorf("check: %+v, %v", res, err)
	}
	if res, err := s.Apply(t.Context(), w.Env()); err != nil || res.State != step.Changed {
		t.Errorf("apply: %+v, %v", res, err)
	}
	if res, err := s.Check(t.Context(), w.Env()); err != nil || res.State != step.OK {
		t.Errorf("second check: %+v, %v", res, err)
	}
}

// A path that leaves the step gets the label of the policy again.
func TestSELinuxOfALaterStep(t *testing.T) {
	w := steptest.New(t)
	w.Write(t, "sys/fs/selinux/enforce", "1", 0o644)
	w.Write(t, "a", "", 0o755)
	w.Write(t, "b", "", 0o755)
	labels, policy := map[string]string{}, map[string]string{}
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		last := strings.TrimPrefix(c.Argv[len(c.Argv)-1], w.Root)
		switch c.Argv[0] {
		case "stat":
			return steptest.Say("system_u:object_r:" + labels[last] + ":s0\n")
		case "semanage":
			if c.Argv[2] == "-d" && policy[last] == "" {
				return steptest.Exit(c.Argv, 1, "not defined")
			}
			if delete(policy, last); c.Argv[2] != "-d" {
				policy[last] = c.Argv[4]
			}
		case "restorecon":
			labels[last] = policy[last]
		}
		return steptest.Say("")
	}
	label := func(paths ...string) *step.SELinux {
		s := &step.SELinux{}
		for _, p := range paths {
			s.Labels = append(s.Labels, step.Label{Path: p, Type: "bin_t"})
		}
		return s
	}
	first, err := label("/a").Apply(t.Context(), w.Env())
	if err != nil {
		t.Fatal(err)
	}
	env := w.Env()
	env.Owned, env.Prior = true, first.Prior
	res, err := label("/b").Check(t.Context(), env)
	if want := "type differs: /b; no longer wanted: /a"; err != nil || res.Reason != want {
		t.Errorf("reason %q, error %v; want %q", res.Reason, err, want)
	}
	if res, err = label("/b").Apply(t.Context(), env); err != nil || string(res.Rest) != `{"paths":["/b"]}` {
		t.Errorf("rest %s, error %v", res.Rest, err)
	}
	if _, err := label("/b").Apply(t.Context(), env); err != nil { // the journal was not written
		t.Error(err)
	}
	if diff := cmp.Diff(map[string]string{"/a": "", "/b": "bin_t"}, labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	env.Kept = []step.Step{label("/a")}
	if res, err := label("/b").Check(t.Context(), env); err != nil || res.State != step.OK {
		t.Errorf("another step wants it: %s %q, error %v", res.State, res.Reason, err)
	}
}

func TestRoute(t *testing.T) {
	have := ""
	w := steptest.New(t)
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		switch c.Argv[2] {
		case "show":
			return steptest.Say(have)
		case "replace":
			// ip adds the scope of a directly connected network.
			have = strings.Replace(strings.Join(c.Argv[3:], " "), " src", " scope link src", 1) + " \n"
		case "del":
			have = ""
		}
		return steptest.Say("")
	}
	service := &step.Route{Destination: "10.96.0.0/16", Device: "eth0", Source: "10.66.0.11"}
	const other = "10.96.0.0/16 via 10.66.0.1 dev eth0 src 10.66.0.11"
	for _, tt := range []struct {
		name, before string
		step         step.Step
	}{
		{"unreachable", "", &step.Route{Destination: "169.254.169.254"}},
		{"device", "", service},
		{"by a gateway", other, service},
		{"by another interface", "10.96.0.0/16 dev eth1 scope link src 10.66.0.11", service},
		{"from another address", "10.96.0.0/16 dev eth0 scope link src 10.66.0.110", service},
	} {
		have = tt.before
		steptest.Suite(t, steptest.Case{Name: tt.name, Step: tt.step, World: w})
		// The fake adds the scope to a restored route too.
		if strings.Replace(strings.TrimSpace(have), " scope link", "", -1) != strings.Replace(tt.before, " scope link", "", -1) {
			t.Errorf("%s: after undo %q, want %q", tt.name, have, tt.before)
		}
	}
	for _, bad := range []*step.Route{
		{Destination: "services"},
		{Destination: "10.96.0.0/16", Device: "eth0"},
		{Destination: "10.96.0.0/16", Device: "eth0 via", Source: "10.66.0.11"},
	} {
		if bad.Validate() == nil {
			t.Errorf("%+v is valid", bad)
		}
	}
}
