package fetch

// Progress is told what is being downloaded; cmd draws bars or lines from it.
// Both methods and those of Task may be called from several goroutines.
type Progress interface {
	// Start begins a task called name of size bytes, 0 when unknown.
	Start(name string, size int64) Task
}

// Task is one download or build step.
type Task interface {
	// Total sets the size once it is known.
	Total(size int64)
	// Add counts n more bytes; a negative n takes back those of a failed attempt.
	Add(n int64)
	// Done ends the task; err is nil when it succeeded.
	Done(err error)
}

// noProgress is Progress and Task for those who do not look.
type noProgress struct{}

func (noProgress) Start(string, int64) Task { return noProgress{} }
func (noProgress) Total(int64)              {}
func (noProgress) Add(int64)                {}
func (noProgress) Done(error)               {}

// Silent is a Progress that shows nothing.
func Silent() Progress { return noProgress{} }

// shared is a part of a task whose total was set for all parts together.
type shared struct{ Task }

func (shared) Total(int64) {}
