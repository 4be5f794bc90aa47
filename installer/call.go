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

// call runs the agent on a host with one request and passes its events to on, in
// order. The error is the agent's, which may be agent.ErrStep and the like, or says
// that there was no answer.
func (m *member) call(ctx context.Context, req agent.Request, on func(agent.Event)) error {
	req.Protocol, req.Hold = agent.Protocol, true
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	released := make(chan struct{})
	defer close(released)
	// The agent stops when its input ends.
	stdin := io.MultiReader(bytes.NewReader(append(line, '\n')), hold(released))
	answer := &eventWriter{on: on, noise: reader.Head{Max: maxNoise}}
	stderr := reader.Head{Max: maxNoise}
	err = m.Run(ctx, []string{AgentPath, "agent"}, stdin, answer, &stderr)
	if answer.end != nil {
		// The agent's error says more than its exit code, unless the context was
		// cancelled: then it says only that the agent had to stop.
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return answer.end.Err()
	}
	if err == nil {
		err = errors.New("no answer")
	}
	if output := strings.TrimSpace(stderr.String() + "\n" + answer.noise.String()); output != "" {
		err = fmt.Errorf("%w: %s", err, output)
	}
	return fmt.Errorf("agent: %w", err)
}

// hold is a reader without data that ends when the channel is closed.
type hold <-chan struct{}

func (h hold) Read([]byte) (int, error) {
	<-h
	return 0, io.EOF
}

const (
	maxEvent = 4 << 20 // bytes of a line of an agent's answer
	maxNoise = 4 << 10 // bytes of other output that an error message quotes
)

// eventWriter splits an agent's output into events. Lines that are not events, such
// as a login banner, are kept for the error message.
type eventWriter struct {
	on    func(agent.Event)
	buf   []byte
	noise reader.Head
	end   *agent.Event
}

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
