package step

// Internals that external tests use, since steptest imports this package.
var (
	RemovalScript = (*Cleanup).removalScript
	PodMounts     = podMounts
	Processes     = processes
	Complete      = complete
)
