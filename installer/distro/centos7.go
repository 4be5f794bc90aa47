package distro

import "github.com/offk8s/offk8s/installer/step"

var centos7 = Distro{
	Name: "centos-7", ID: "centos", Major: "7", Manager: step.ManagerYum,
	Chrony: redhatChrony(), RivalClocks: []string{"ntpd.service"},
}
