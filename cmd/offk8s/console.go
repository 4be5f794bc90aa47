package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
)

// console is a slog.Handler for people: it writes a warning as app.warnf does, with the
// attributes behind the message.
type console struct {
	slog.Handler // writes the attributes of a record into *line
	line         *bytes.Buffer
	out          io.Writer
	mu           *sync.Mutex
}

func newConsole(out io.Writer, level slog.Level) console {
	line := new(bytes.Buffer)
	return console{
		Handler: slog.NewTextHandler(line, &slog.HandlerOptions{Level: level, ReplaceAttr: attributesOnly}),
		line:    line, out: out, mu: new(sync.Mutex),
	}
}

// attributesOnly drops what slog itself adds to a record.
func attributesOnly(groups []string, a slog.Attr) slog.Attr {
	switch {
	case len(groups) > 0:
	case a.Key == slog.TimeKey, a.Key == slog.LevelKey, a.Key == slog.MessageKey:
		return slog.Attr{}
	}
	return a
}

func (c console) Handle(ctx context.Context, r slog.Record) error {
	level := "error"
	if r.Level < slog.LevelError {
		level = "warning"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line.Reset()
	c.line.WriteString("offk8s: " + level + ": " + r.Message)
	start := c.line.Len()
	c.line.WriteByte(' ')
	if err := c.Handler.Handle(ctx, r); err != nil {
		return err
	}
	if bytes.Equal(c.line.Bytes()[start:], []byte(" \n")) { // no attributes
		c.line.Truncate(start)
		c.line.WriteByte('\n')
	}
	_, err := c.out.Write(c.line.Bytes())
	return err
}

func (c console) WithAttrs(attrs []slog.Attr) slog.Handler {
	c.Handler = c.Handler.WithAttrs(attrs)
	return c
}

func (c console) WithGroup(name string) slog.Handler {
	c.Handler = c.Handler.WithGroup(name)
	return c
}
