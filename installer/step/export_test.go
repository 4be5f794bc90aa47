package step

import "time"

// Internals that external tests use, since steptest imports this package.
var (
	RemovalScript = (*Cleanup).removalScript
	PodMounts     = podMounts
	MountPrefixes = mountPrefixes
	Processes     = processes
	Complete      = complete
	MembersOf     = EtcdClient.members
)

func init() { quorumInterval, quorumPatience = time.Millisecond, 200*time.Millisecond }

// SetSettled replaces the time for which a file must not have changed, and returns a
// function that puts it back.
func SetSettled(d time.Duration) func() {
	old := settled
	settled = d
	return func() { settled = old }
}
