package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// events writes events as lines of JSON, without secrets. Safe for concurrent use.
type events struct {
	mu   sync.Mutex
	w    io.Writer
	gone context.CancelCauseFunc // is called if nobody receives them
	hide redactor
}

func (e *events) send(ev Event) error {
	b, err := json.Marshal(e.hide.event(ev))
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err = e.w.Write(append(b, '\n')); err != nil {
		e.gone(fmt.Errorf("the operator went away: %w", err))
	}
	return err
}

// beat sends signs of life until done is closed.
func (e *events) beat(done <-chan struct{}) {
	t := time.NewTicker(Beat)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case <-t.C:
			_ = e.send(Event{Type: EventAlive})
		}
	}
}

// logHandler turns log records into events.
type logHandler struct {
	out   *events
	attrs string
}

func (h *logHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message + h.attrs
	r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%q", a.Key, a.Value.Resolve().String())
		return true
	})
	return h.out.send(Event{Type: EventLog, Level: r.Level.String(), Text: text})
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	for _, a := range attrs {
		next.attrs += fmt.Sprintf(" %s=%q", a.Key, a.Value.Resolve().String())
	}
	return &next
}

// WithGroup implements slog.Handler; steps use no groups.
func (h *logHandler) WithGroup(string) slog.Handler { return h }
