package distro

import "github.com/offk8s/offk8s/installer/step"

var debian12 = Distro{
	Name: "debian-12", ID: "debian", Major: "12", Manager: step.ManagerApt,
	Chrony: Chrony{
		Unit: "chrony.service", Config: "/etc/chrony/chrony.conf", Drift: "/var/lib/chrony/chrony.drift",
		OptionFile: "/etc/default/chrony", OptionName: "DAEMON_OPTS",
	},
	RivalClocks: []string{"systemd-timesyncd.service", "ntp.service", "ntpsec.service", "openntpd.service"},
}
