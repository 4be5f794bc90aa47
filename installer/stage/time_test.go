package stage

import (
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/distro"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Several control planes follow each other, and agree on one of them: chrony takes the
// lowest address. All other hosts follow all of them.
func TestTimeOfSeveralControlPlanes(t *testing.T) {
	in := orderInput(3, 3)
	in.Cluster.Hosts[0].Address = "10.0.0.20"
	in.Cluster.Hosts = append(in.Cluster.Hosts, manifests.Host{Name: "w", Address: "10.0.0.9", Roles: []manifests.Role{manifests.RoleWorker}})
	d := distro.Distro{Chrony: distro.Chrony{Drift: "/drift"}}
	const allow = "allow 10.0.0.20/32\nallow 10.0.0.2/32\nallow 10.0.0.3/32\nallow 10.0.0.9/32\n"
	const end = "driftfile /drift\nmakestep 1.0 3\nrtcsync\n"
	const ours = "# Written by offk8s; changes are overwritten. Use cluster.yaml.\n"
	for i, want := range []string{
		"server 10.0.0.2 iburst minpoll 4 maxpoll 6\nserver 10.0.0.3 iburst minpoll 4 maxpoll 6\ninitstepslew 1 10.0.0.2 10.0.0.3\nlocal stratum 8 orphan\n" + allow,
		"server 10.0.0.20 iburst minpoll 4 maxpoll 6\nserver 10.0.0.3 iburst minpoll 4 maxpoll 6\ninitstepslew 1 10.0.0.20 10.0.0.3\nlocal stratum 8 orphan\n" + allow,
		"server 10.0.0.20 iburst minpoll 4 maxpoll 6\nserver 10.0.0.2 iburst minpoll 4 maxpoll 6\ninitstepslew 1 10.0.0.20 10.0.0.2\nlocal stratum 8 orphan\n" + allow,
		"server 10.0.0.20 iburst minpoll 4 maxpoll 6\nserver 10.0.0.2 iburst minpoll 4 maxpoll 6\nserver 10.0.0.3 iburst minpoll 4 maxpoll 6\n",
	} {
		if got := chronyConf(in, d, in.Cluster.Hosts[i]); got != ours+want+end {
			t.Errorf("%s:\n%s", in.Cluster.Hosts[i].Name, got)
		}
	}
	for away, want := range map[string][]string{
		"": {"^* 10.0.0.2 ", "Stratum         : 8", "^* 10.0.0.2 ", "^* "},
		// chrony keeps the one that is away for half an hour.
		"h2": {"Leap status     : Normal", "", "Leap status     : Normal", "^* "},
	} {
		in.Away = map[string]bool{away: true}
		for i, h := range in.Cluster.Hosts {
			if got := timeWait(in, h).Expect; got != want[i] && h.Name != away {
				t.Errorf("without %q, %s waits for %q, want %q", away, h.Name, got, want[i])
			}
		}
	}
}

// The time servers of a site stay, unless cluster.yaml says otherwise or nobody follows them.
func TestTimeServersOfTheHost(t *testing.T) {
	site := facts.Clock{Servers: []string{"server ntp.corp.example iburst"}, Synchronized: true}
	idle := facts.Clock{Servers: site.Servers}
	again := facts.Clock{Servers: site.Servers, Kept: true}
	for _, tt := range []struct {
		name    string
		cp, w   facts.Clock
		servers []string
		keeps   bool
		warns   int
	}{
		{name: "none"},
		{name: "a control plane follows one", cp: site, keeps: true},
		{name: "all follow one", cp: site, w: site, keeps: true},
		{name: "kept in an earlier run", cp: again, keeps: true},
		{name: "nobody follows it", cp: idle, warns: 1},
		{name: "only a worker follows one", w: site, warns: 1},
		{name: "the file names another", cp: site, servers: []string{"other"}},
		{name: "the file says none", cp: site, w: site, servers: []string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := orderInput(1, 1)
			in.Cluster.Time.Servers = tt.servers
			in.Cluster.Hosts = append(in.Cluster.Hosts, manifests.Host{Name: "w", Address: "10.0.0.9", Roles: []manifests.Role{manifests.RoleWorker}})
			in.Facts["h1"], in.Facts["w"] = facts.Facts{Clock: tt.cp}, facts.Facts{Clock: tt.w}
			conf := chronyConf(in, distro.Distro{}, in.Cluster.Hosts[0])
			if got := strings.Contains(conf, facts.KeptMark+"\nserver ntp.corp.example iburst\n\n"); got != tt.keeps {
				t.Errorf("kept %t, want %t:\n%s", got, tt.keeps, conf)
			}
			if strings.Contains(chronyConf(in, distro.Distro{}, in.Cluster.Hosts[1]), "ntp.corp") {
				t.Error("a worker follows others than the control planes")
			}
			if w := timeWait(in, in.Cluster.Hosts[0]); (w.Expect == "^* ") != (tt.keeps || len(tt.servers) > 0) {
				t.Errorf("waits for %q", w.Expect)
			}
			c := &checks{}
			for _, h := range in.Cluster.Hosts {
				checkClock(c, in, h, in.Facts[h.Name])
			}
			warns := 0
			for _, x := range c.list {
				if x.Verdict != Pass {
					warns++
				}
			}
			if warns != tt.warns {
				t.Errorf("%d warnings, want %d: %v", warns, tt.warns, c.list)
			}
		})
	}
}

// What a host waits for is what chronyc prints for one of several sources.
func TestTimeWaitOfOneOfSeveral(t *testing.T) {
	const line = "^* 10.0.0.11                     8   6    17     2   +1ns[ +2ns] +/-   10ms\n"
	in := orderInput(1, 2)
	in.Cluster.Hosts[0].Address = "10.0.0.1"
	w := timeWait(in, in.Cluster.Hosts[1])
	if strings.Contains(line, w.Expect) || !strings.Contains(strings.Replace(line, "10.0.0.11", "10.0.0.1 ", 1), w.Expect) {
		t.Errorf("expects %q", w.Expect)
	}
}

// TestChronyWaitsForItsConfiguration: the package of Debian would start it with servers on
// the internet.
func TestChronyWaitsForItsConfiguration(t *testing.T) {
	in := testInput(t, "1.36")
	for _, h := range in.Cluster.Hosts {
		d, err := in.distro(h)
		if err != nil {
			t.Fatal(err)
		}
		p, ok := steps(t, in, "time", h.Name)["package"].Step.(*step.Packages)
		if !ok || !slices.Equal(p.Masked, []string{d.Chrony.Unit}) {
			t.Errorf("%s: %+v, want %s to stay down", h.Name, p, d.Chrony.Unit)
		}
	}
}
