package yum_test

import (
	"context"
	"fmt"

	"github.com/offk8s/offk8s/bundle/yum"
)

func ExampleClosure() {
	chrony := yum.Package{
		NEVRA:    yum.NEVRA{Name: "chrony", Version: "4.3", Release: "1.el9", Arch: "x86_64"},
		Requires: []yum.Relation{{Name: "libseccomp", Op: ">=", Version: "2"}},
	}
	seccomp := yum.Package{
		NEVRA:    yum.NEVRA{Name: "libseccomp", Version: "2.5", Release: "2.el9", Arch: "x86_64"},
		Provides: []yum.Relation{{Name: "libseccomp", Op: "=", Version: "2.5", Release: "2.el9"}},
	}
	socat := yum.Package{NEVRA: yum.NEVRA{Name: "socat", Version: "1.7", Release: "5.el9", Arch: "x86_64"}}
	// Repositories come from yum.ReadRepo.
	repos := []*yum.Repo{{ID: "baseos", Packages: []yum.Package{socat, seccomp, chrony}}}

	packages, err := yum.Closure(context.Background(), repos, []string{"chrony"}, yum.ClosureOptions{Arch: "x86_64"})
	for _, p := range packages {
		fmt.Println(p)
	}
	fmt.Println(err)

	_, err = yum.Closure(context.Background(), repos, []string{"ntp"}, yum.ClosureOptions{})
	fmt.Println(err)
	// Output:
	// chrony-4.3-1.el9.x86_64
	// libseccomp-2.5-2.el9.x86_64
	// <nil>
	// "ntp", required by "the list of packages", is in no repository
}
