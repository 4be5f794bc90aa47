package stage

// What tests of operations use; they need installer, which imports this package.
var (
	TestInput = testInput
	Golden    = golden
)
