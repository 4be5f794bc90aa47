package catalog_test

import (
	"fmt"

	"github.com/offk8s/offk8s/manifests/catalog"
)

func ExampleEmbedded() {
	c, err := catalog.Embedded()
	if err != nil {
		panic(err)
	}
	release, err := c.Release("1.16")
	if err != nil {
		panic(err)
	}
	fmt.Println(release.Version, release.Defaults.Runtime, release.Defaults.CNI)
	// Output: 1.16.15 containerd flannel
}

func ExampleParseOSRelease() {
	o := catalog.ParseOSRelease([]byte("ID=debian\nVERSION_ID=\"12\"\n"))
	fmt.Println(o.ID, o.Version)
	// Output: debian 12
}
