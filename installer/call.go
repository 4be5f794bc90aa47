package installer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/installer/agent"
)

// call runs the agent on a host with one request and hands its events to on, in
// order. The error is the agent's own (errors.Is knows agent.ErrStep and the
// others), or tells that there was no answer.
func (m *member) call(ctx context.Context, req agent.Request, on func(agent.Event)) error {
	req.Protocol, req.Hold = agent.Protocol, true
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	released := make(chan struct{})
	defer close(released)
	stdin := &held{Reader: bytes.NewReader(append(line, '\n')), until: released}
	answer := &eventWriter{on: on, noise: reader.Head{Max: maxNoise}}
	stderr := reader.Head{Max: maxNoise}
	err = m.Run(ctx, []string{AgentPath, "agent"}, stdin, answer, &stderr)
	if answer.end != nil {
		// The agent's own words say more than its exit code; after a cancelled
		// context they are only that it was told to stop.
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return answer.end.Err()
	}
	said := strings.TrimSpace(stderr.String() + "\n" + answer.noise.String())
	if err == nil {
		err = errors.New("no answer")
	}
	if said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return fmt.Errorf("agent: %w", err)
}

// held gives its bytes and then waits: the end of the agent's input would stop it.
type held struct {
	*bytes.Reader
	until <-chan struct{}
}

// Read implements io.Reader.
func (h *held) Read(b []byte) (int, error) {
	if h.Len() > 0 {
		return h.Reader.Read(b)
	}
	<-h.until
	return 0, io.EOF
}

// WriteTo would let io.Copy go past Read.
func (h *held) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{h})
}

const (
	// maxEvent bounds a line of an agent's answer in bytes.
	maxEvent = 4 << 20
	// maxNoise bounds the output that is kept for an error message in bytes.
	maxNoise = 4 << 10
)

// eventWriter splits an agent's output into events. What is none, such as a
// login message, is kept for the error.
type eventWriter struct {
	on    func(agent.Event)
	buf   []byte
	noise reader.Head
	end   *agent.Event
}

// Write implements io.Writer.
func (w *eventWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			if w.buf = append(w.buf, b...); len(w.buf) > maxEvent {
				return 0, fmt.Errorf("agent: an event of more than %d bytes", maxEvent)
			}
			break
		}
		w.line(append(w.buf, b[:i]...))
		w.buf, b = nil, b[i+1:]
	}
	return n, nil
}

func (w *eventWriter) line(b []byte) {
	var e agent.Event
	if json.Unmarshal(b, &e) != nil || e.Type == "" {
		_, _ = w.noise.Write(append(b, '\n'))
		return
	}
	if e.Type == agent.EventEnd {
		w.end = &e
		return
	}
	w.on(e)
}
