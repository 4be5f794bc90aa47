package facts

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/step/steptest"
)

// Time servers of a site are found in the files of every program that sets the clock;
// the public pools of a distribution's defaults are not a site's.
func TestClock(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  []string
		kept  bool
	}{
		{name: "nothing is configured"},
		{name: "defaults of distributions", files: map[string]string{
			"/etc/chrony.conf": "pool 2.rocky.pool.ntp.org iburst\ndriftfile /var/lib/chrony/drift\n",
			"/etc/ntp.conf":    "pool 0.debian.pool.ntp.org iburst\nserver 127.127.1.0\n",
		}},
		{name: "chrony with files that it includes", files: map[string]string{
			"/etc/chrony/chrony.conf":             "Server ntp1.corp.example iburst key 3\n#server old\nkeyfile /etc/chrony/keys\nconfdir /etc/chrony/conf.d\nsourcedir /run/dhcp\nrefclock PHC /dev/ptp0 poll 2\n",
			"/etc/chrony/conf.d/site.conf":        "peer 10.9.0.1\n",
			"/run/dhcp/eth0.sources":              "server 10.9.0.2\nserver 10.9.0.2\n",
			"/etc/chrony/conf.d/other.conf.saved": "server 10.9.9.9\n",
		}, want: []string{
			"server ntp1.corp.example iburst key 3", "refclock PHC /dev/ptp0 poll 2", "peer 10.9.0.1", "server 10.9.0.2", "keyfile /etc/chrony/keys",
		}},
		{name: "ntpd", files: map[string]string{"/etc/ntp.conf": "server ntp.corp.example minpoll 4\nrestrict 10.0.0.0\n"}, want: []string{"server ntp.corp.example iburst"}},
		{name: "timesyncd", files: map[string]string{
			"/etc/systemd/timesyncd.conf":             "[Time]\n#NTP=\nFallbackNTP=x\n",
			"/etc/systemd/timesyncd.conf.d/site.conf": "[Time]\nNTP=a.corp.example b.corp.example\n",
		}, want: []string{"server a.corp.example iburst", "server b.corp.example iburst"}},
		{name: "our own file", files: map[string]string{
			"/etc/chrony.conf": ChronyMark + "\n" + KeptMark + "\nserver ntp.corp.example iburst\n\nserver 10.0.0.12 iburst\n",
			"/etc/ntp.conf":    "server old.corp.example\n",
		}, want: []string{"server ntp.corp.example iburst"}, kept: true},
		{name: "our own file that keeps none", files: map[string]string{
			"/etc/chrony.conf": ChronyMark + "\nserver 10.0.0.11 iburst\n", "/etc/ntp.conf": "server old.corp.example\n",
		}},
		{name: "no line of a configuration", files: map[string]string{"/etc/ntp.conf": "server\nserver a\x1b[31m\nserver -4\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := steptest.New(t)
			for path, text := range tt.files {
				w.Write(t, path, text, 0o644)
			}
			got := clock(w.Env())
			if diff := cmp.Diff(tt.want, got.Servers); diff != "" || got.Kept != tt.kept {
				t.Errorf("kept %t, servers (-want +got):\n%s", got.Kept, diff)
			}
		})
	}
}
