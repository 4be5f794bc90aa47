package stage

// For tests of operations, which need installer, which imports this package.
var (
	TestInput = testInput
	Golden    = golden
)
