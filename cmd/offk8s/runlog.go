package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// keptRuns is the number of runs whose logs stay.
const keptRuns = 20

// runLog is the file with the events of a run, a line of JSON each. The agents have
// removed the secrets from them.
type runLog struct {
	runJSON
	file *os.File
}

// openRunLog creates the log of a run that begins now in the state directory dir. It
// removes the logs of the oldest runs.
func openRunLog(dir string, now func() time.Time) (*runLog, error) {
	runs := filepath.Join(dir, "runs")
	if err := os.MkdirAll(runs, 0o700); err != nil {
		return nil, err
	}
	name := now().UTC().Format("20060102T150405.000Z") + ".jsonl"
	f, err := os.OpenFile(filepath.Join(runs, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &runLog{runJSON{w: f, now: now}, f}, pruneRuns(runs)
}

// pruneRuns removes all logs but the newest.
func pruneRuns(runs string) error {
	files, err := filepath.Glob(filepath.Join(runs, "*.jsonl"))
	if err != nil {
		return err
	}
	slices.Sort(files) // by time
	var errs []error
	for _, f := range files[:max(len(files)-keptRuns, 0)] {
		if err := os.Remove(f); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
