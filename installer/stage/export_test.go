package stage

import (
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/manifests"
)

// For tests of operations, which need installer, which imports this package.
var (
	TestInput  = testInput
	Golden     = golden
	BothArches = bothArches
	Leave      = checkLeaving
	DebianHost = func(h manifests.Host) facts.Facts { return testFacts(h, "debian", "12") }
)
