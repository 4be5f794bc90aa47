package step

import "time"

// Internals that external tests use, since steptest imports this package.
var (
	RemovalScript = (*Cleanup).removalScript
	PodMounts     = podMounts
	Processes     = processes
	Complete      = complete
)

func init() { quorumInterval = time.Millisecond }
