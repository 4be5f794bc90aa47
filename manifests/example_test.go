package manifests_test

import (
	"fmt"

	"github.com/offk8s/offk8s/manifests"
)

func ExampleLoadManifest() {
	m, err := manifests.LoadManifest("pack.yaml", []byte(`
apiVersion: offk8s.dev/v1
kind: Manifest
kubernetes: "1.36"
distros: [rocky-9]
`))
	if err != nil {
		panic(err)
	}
	fmt.Println(m.Kubernetes, m.Distros)
	// Output: 1.36 [rocky-9]
}

// Every problem of a file is reported, with its line.
func ExampleLoadCluster() {
	_, err := manifests.LoadCluster("cluster.yaml", []byte(`apiVersion: offk8s.dev/v1
kind: Cluster
name: site
hosts:
  - name: node-1
    adress: 10.0.0.11
    roles: [control-plane, etcd, worker]
`))
	fmt.Println(err)
	// Output:
	// cluster.yaml:5:5: hosts[0].address: found "", want an IP address that the other hosts reach
	// cluster.yaml:6:5: hosts[0].adress: unknown field (did you mean "address"?)
}

func ExampleParseGroup() {
	g, ok := manifests.ParseGroup(manifests.YumGroup("rocky-9", "amd64"))
	fmt.Println(g.Kind, g.Distro, g.Arch, ok)
	// Output: yum rocky-9 x86_64 true
}
