package apt

import (
	"context"
	"fmt"
	"strings"
)

const examplePackages = `Package: chrony
Version: 4.3-2
Architecture: amd64
Depends: libc6 (>= 2.34)
Filename: pool/main/c/chrony/chrony_4.3-2_amd64.deb
Size: 1
SHA256: 0000000000000000000000000000000000000000000000000000000000000000

Package: libc6
Version: 2.36-9
Architecture: amd64
Filename: pool/main/g/glibc/libc6_2.36-9_amd64.deb
Size: 1
SHA256: 0000000000000000000000000000000000000000000000000000000000000000
`

func ExampleClosure() {
	// Suites come from ReadSuite, which verifies them; this one is read from text.
	suite := &Suite{Name: "bookworm"}
	if err := suite.readPackages(strings.NewReader(examplePackages), "https://archive.example.org/debian", "amd64"); err != nil {
		fmt.Println(err)
		return
	}
	packages, err := Closure(context.Background(), []*Suite{suite}, []string{"chrony"}, ClosureOptions{Arch: "amd64"})
	for _, p := range packages {
		fmt.Println(p, p.Path())
	}
	fmt.Println(err)
	// Output:
	// chrony 4.3-2 amd64 pool/c/chrony/chrony_4.3-2_amd64.deb
	// libc6 2.36-9 amd64 pool/libc/libc6/libc6_2.36-9_amd64.deb
	// <nil>
}
