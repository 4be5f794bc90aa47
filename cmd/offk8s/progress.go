package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/fetch"
)

// progressMode returns the display chosen by --progress: tty, plain, json or none.
// "auto" means tty on a terminal, and plain in a pipe or if CI is set.
func (a *app) progressMode() string {
	switch {
	case a.quiet:
		return "none"
	case a.progress != "auto":
		return a.progress
	}
	if f, ok := a.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("CI") == "" {
		return "tty"
	}
	return "plain"
}

// newTerminal returns a part of a terminal that is drawn again and again, below lines
// that stay.
func newTerminal(w io.Writer) *mpb.Progress {
	return mpb.New(mpb.WithOutput(w), mpb.WithWidth(40), mpb.WithRefreshRate(150*time.Millisecond))
}

// newProgress returns the display of downloads that --progress chooses, and a function
// that ends it.
func (a *app) newProgress() (fetch.Progress, func()) {
	switch a.progressMode() {
	case "tty":
		p := newTerminal(a.stderr)
		return bars{p}, p.Wait
	case "json":
		return &lines{w: a.stderr, write: jsonLine}, func() {}
	case "plain":
		return &lines{w: a.stderr, write: plainLine}, func() {}
	default:
		return fetch.Silent(), func() {}
	}
}

// outputBeside returns where the output of a program goes while progress is shown.
func (a *app) outputBeside(progress fetch.Progress) io.Writer {
	if p, ok := progress.(interface{ Output() io.Writer }); ok {
		return p.Output()
	}
	return a.stderr
}

// track shows the progress of work as the task name. The bytes that work reports are
// those done so far, and all.
func (a *app) track(name string, work func(progress func(done, total int64)) error) error {
	progress, end := a.newProgress()
	defer end()
	task := progress.Start(name, 0)
	var last int64
	err := work(func(done, total int64) {
		task.Total(total)
		task.Add(done - last)
		last = done
	})
	task.Done(err)
	return err
}

// waiting returns the function that shows the pauses before downloads are tried
// again, one line per host and pause: downloads that run in parallel wait for the
// same host.
func waiting(progress fetch.Progress) func(fetch.Wait) {
	shower, ok := progress.(interface{ Waiting(host, text string) })
	if !ok {
		return nil
	}
	var mu sync.Mutex
	until := map[string]time.Time{}
	return func(w fetch.Wait) {
		host, cause, ok := unreachable(w.Err)
		if status, answered := errors.AsType[*fetch.StatusError](w.Err); answered {
			host, cause = hostOf(status.URL), fmt.Sprintf("answered %d %s", status.Code, http.StatusText(status.Code))
		} else if !ok {
			host, cause = w.What, w.Err.Error()
		}
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.After(until[host]) {
			until[host] = now.Add(w.For)
			shower.Waiting(host, fmt.Sprintf("%s (attempt %d of %d, again in %s)", cause, w.Attempt, w.Attempts, w.For))
		}
	}
}

// bars draws one bar per item on a terminal and removes finished ones.
type bars struct{ p *mpb.Progress }

// Waiting writes a line above the bars.
func (b bars) Waiting(host, text string) { fmt.Fprintf(b.p, "waiting   %s: %s\n", host, text) }

// Output returns where lines are written above the bars.
func (b bars) Output() io.Writer { return b.p }

func (b bars) Start(name string, size int64) fetch.Task {
	bar := b.p.AddBar(size, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(shorten(name, 48), decor.WC{W: 50, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f")))
	return barTask{bar}
}

type barTask struct{ bar *mpb.Bar }

func (t barTask) Total(size int64) { t.bar.SetTotal(size, false) }

func (t barTask) Add(n int64) { t.bar.IncrInt64(n) }

func (t barTask) Done(err error) {
	if err != nil {
		t.bar.Abort(true)
		return
	}
	t.bar.SetTotal(-1, true)
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n+1:]
}

// lineEvent is one line of plain or JSON progress.
type lineEvent struct {
	Event string  `json:"event"` // progress, waiting, done, failed or stopped
	Name  string  `json:"name"`
	Bytes int64   `json:"bytes"`
	Size  int64   `json:"size,omitempty"`
	Took  float64 `json:"seconds,omitempty"`
	Error string  `json:"error,omitempty"`
}

// lines writes a line when an item ends, and every ten seconds while one runs.
type lines struct {
	mu    sync.Mutex
	w     io.Writer
	write func(io.Writer, lineEvent)
}

func (l *lines) emit(e lineEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(l.w, e)
}

// Waiting writes a line.
func (l *lines) Waiting(host, text string) {
	l.emit(lineEvent{Event: "waiting", Name: host, Error: text})
}

func (l *lines) Start(name string, size int64) fetch.Task {
	now := time.Now()
	return &lineTask{l: l, name: name, size: size, start: now, shown: now}
}

type lineTask struct {
	l            *lines
	name         string
	size         int64
	mu           sync.Mutex
	done         int64
	start, shown time.Time
}

func (t *lineTask) Total(size int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.size = size
}

func (t *lineTask) Add(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done += n
	if time.Since(t.shown) >= 10*time.Second {
		t.shown = time.Now()
		t.l.emit(lineEvent{Event: "progress", Name: t.name, Bytes: t.done, Size: t.size, Took: time.Since(t.start).Seconds()})
	}
}

func (t *lineTask) Done(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := lineEvent{Event: "done", Name: t.name, Bytes: t.done, Size: t.size, Took: time.Since(t.start).Seconds()}
	if err != nil {
		e.Event, e.Error = "failed", err.Error()
	}
	if errors.Is(err, context.Canceled) {
		e.Event = "stopped" // by a signal, or because another item failed
	}
	t.l.emit(e)
}

func plainLine(w io.Writer, e lineEvent) {
	switch {
	case e.Event == "stopped": // by the user, or after an error that is reported
	case e.Event == "failed": // the reason is in the error at the end
		fmt.Fprintf(w, "failed    %s\n", e.Name)
	case e.Event == "waiting":
		fmt.Fprintf(w, "waiting   %s: %s\n", e.Name, strings.ReplaceAll(e.Error, "\n", "; "))
	case e.Event == "progress" && e.Size > 0:
		fmt.Fprintf(w, "%-9s %s %s of %s\n", e.Event, e.Name, bundle.FormatSize(e.Bytes), bundle.FormatSize(e.Size))
	case e.Bytes > 0:
		fmt.Fprintf(w, "%-9s %s %s\n", e.Event, e.Name, bundle.FormatSize(e.Bytes))
	default:
		fmt.Fprintf(w, "%-9s %s\n", e.Event, e.Name)
	}
}

func jsonLine(w io.Writer, e lineEvent) { _ = json.NewEncoder(w).Encode(e) }
