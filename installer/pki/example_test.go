package pki_test

import (
	"fmt"
	"log"
	"os"

	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/manifests"
)

// Credentials are issued on the first call; the second finds them valid.
func ExampleCredentials_Ensure() {
	dir, err := os.MkdirTemp("", "pki")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := pki.Open(pki.Options{Dir: dir, Cluster: &manifests.Cluster{Name: "lab", Hosts: []manifests.Host{
		{Name: "node-1", Address: "10.0.0.2", Roles: []manifests.Role{manifests.RoleControlPlane}},
	}}})
	if err != nil {
		log.Fatal(err)
	}
	issued, err := store.Ensure()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(issued[0])
	if issued, err = store.Ensure(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(issued), "issued again")
	kubeconfig, err := store.Resolve(pki.KubeconfigRef(pki.Admin))
	fmt.Println(len(kubeconfig) > 0, err)
	// Output:
	// apiserver-node-1: it was missing
	// 0 issued again
	// true <nil>
}
