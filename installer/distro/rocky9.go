package distro

import "github.com/offk8s/offk8s/installer/step"

var rocky9 = Distro{
	Name: "rocky-9", ID: "rocky", Major: "9", Manager: step.ManagerDnf,
	Chrony: redhatChrony(), RivalClocks: []string{"systemd-timesyncd.service"},
}
