package yum

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/offk8s/offk8s/bundle/metadata/metadatatest"
)

// bigRepo is a made-up repository of n packages, each with ten provides and requires.
func bigRepo(b *testing.B, n int) metadatatest.Files {
	b.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	packages := make([]pkg, n)
	for i := range packages {
		p := &packages[i]
		p.nevra = fmt.Sprintf("package-%d-1.%d-3.el9.x86_64", i, r.IntN(9))
		for j := range 10 {
			p.provides = append(p.provides, fmt.Sprintf("lib%d_%d.so.1()(64bit)", i, j))
			p.requires = append(p.requires, fmt.Sprintf("lib%d_%d.so.1()(64bit)", r.IntN(n), r.IntN(10)))
		}
	}
	return makeRepo(b, packages...)
}

func BenchmarkReadRepo(b *testing.B) {
	f := bigRepo(b, 5000)
	for b.Loop() {
		if _, err := ReadRepo(b.Context(), f, source(), "x86_64", nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClosure(b *testing.B) {
	r, err := ReadRepo(b.Context(), bigRepo(b, 5000), source(), "x86_64", nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Closure(b.Context(), []*Repo{r}, []string{"package-7"}, ClosureOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
