package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// keptRuns is the number of runs whose logs stay.
const keptRuns = 20

// runLog has the events of a run, a line of JSON each. The agents have removed the
// secrets from them. They are in memory until keep names their directory.
type runLog struct {
	runJSON
	early bytes.Buffer
	file  *os.File
}

func newRunLog(now func() time.Time) *runLog {
	l := &runLog{}
	l.w, l.now = &l.early, now
	return l
}

// keep moves the log to a new file in the state directory dir, which it returns. It
// removes the logs of the oldest runs.
func (l *runLog) keep(dir string) (path string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	runs := filepath.Join(dir, "runs")
	if err := os.MkdirAll(runs, 0o700); err != nil {
		return "", err
	}
	path = filepath.Join(runs, l.now().UTC().Format("20060102T150405.000Z")+".jsonl")
	if l.file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return "", err
	}
	l.w = l.file
	_, err = l.early.WriteTo(l.file)
	return path, errors.Join(err, pruneRuns(runs))
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
