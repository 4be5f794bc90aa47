package clientconf_test

import (
	"fmt"

	"github.com/offk8s/offk8s/bundle/clientconf"
)

func ExampleConfig() {
	c := clientconf.Config{URLs: []string{"https://dmz:8443"}, CAFile: "/etc/offk8s/ca.crt"}
	fmt.Print(c.HostsTOML())
	// Output:
	// server = "https://dmz:8443"
	// ca = "/etc/offk8s/ca.crt"
	//
	// [host."https://dmz:8443"]
	// capabilities = ["pull", "resolve"]
	// ca = "/etc/offk8s/ca.crt"
}
