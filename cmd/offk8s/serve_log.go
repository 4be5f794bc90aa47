package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// accessLog writes lines to a file that can be moved away and opened again.
type accessLog struct {
	path string
	mu   sync.Mutex
	file *os.File
}

// openAccessLog returns the log of --access-log, a file or - for stdout, and a
// function that opens the file again, for logrotate. Without a path both do nothing.
func (a *app) openAccessLog(path string) (log *slog.Logger, reopen func() error, err error) {
	l := &accessLog{path: path}
	var out io.Writer = l
	switch path {
	case "":
		return nil, func() error { return nil }, nil
	case "-":
		out, reopen = a.stdout, func() error { return nil }
	default:
		reopen = l.reopen
	}
	if err := reopen(); err != nil {
		return nil, nil, usageError{err}
	}
	return slog.New(slog.NewJSONHandler(out, nil)), reopen, nil
}

func (l *accessLog) reopen() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("--access-log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close() // every line was written at once
	}
	l.file = f
	return nil
}

func (l *accessLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Write(b)
}
