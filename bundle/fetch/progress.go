package fetch

// Progress receives the progress of downloads; cmd draws bars or lines from it.
// Its methods and those of Task may be called from several goroutines.
type Progress interface {
	// Start begins a task of size bytes, 0 if unknown.
	Start(name string, size int64) Task
}

// Task is one download or build step.
type Task interface {
	// Total sets the size once it is known.
	Total(size int64)
	// Add counts n more bytes; n is negative after a failed attempt.
	Add(n int64)
	// Done ends the task; err is nil if it succeeded.
	Done(err error)
}

// noProgress is a Progress and Task that ignores everything.
type noProgress struct{}

func (noProgress) Start(string, int64) Task { return noProgress{} }
func (noProgress) Total(int64)              {}
func (noProgress) Add(int64)                {}
func (noProgress) Done(error)               {}

// Silent returns a Progress that shows nothing.
func Silent() Progress { return noProgress{} }

// shared is a part of a task whose total is set for all parts together.
type shared struct{ Task }

func (shared) Total(int64) {}
