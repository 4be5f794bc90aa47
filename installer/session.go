package installer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/host"
)

// session is an agent that runs on a host and answers one request after the other.
type session struct {
	host  string
	stdin *io.PipeWriter
	stop  context.CancelFunc // ends the program, for one that does not end by itself
	ended chan struct{}      // closed when err is set
	err   error              // of the program, with its output
	mute  bool               // the agent was silent for too long
	hosts []facts.Member     // that the agent knows

	key   []byte        // of the agent, for secrets
	keyed chan struct{} // closed when key is set

	mu    sync.Mutex
	on    func(agent.Event) // nil between requests
	heard time.Time         // when the last event came
}

// startSession starts the agent on h. It outlives ctx.
func startSession(ctx context.Context, h host.Host) *session {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r, w := io.Pipe()
	s := &session{host: h.Name(), stdin: w, stop: cancel, ended: make(chan struct{}), keyed: make(chan struct{}), heard: time.Now()}
	go s.run(ctx, h, r)
	go s.beat()
	return s
}

func (s *session) run(ctx context.Context, h host.Host, stdin *io.PipeReader) {
	defer close(s.ended)
	defer s.stop()
	stdout := &eventWriter{on: s.event, noise: reader.Head{Max: maxNoise}}
	stderr := reader.Head{Max: maxNoise}
	err := h.Run(ctx, []string{AgentPath, "agent"}, stdin, stdout, &stderr)
	_ = stdin.Close() // nobody reads it any more
	if err == nil {
		return
	}
	if output := strings.TrimSpace(stderr.String() + "\n" + stdout.noise.String()); output != "" {
		err = fmt.Errorf("%w: %s", err, output)
	}
	s.err = err
}

// beat sends signs of life to the agent.
func (s *session) beat() {
	t := time.NewTicker(agent.Beat)
	defer t.Stop()
	for {
		select {
		case <-s.ended:
			return
		case <-t.C:
			if _, err := s.stdin.Write([]byte("\n")); err != nil {
				return
			}
		}
	}
}

// event receives an event of the agent.
func (s *session) event(e agent.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = time.Now()
	if e.Type == agent.EventKey {
		if s.key == nil {
			s.key = e.Key
			close(s.keyed)
		}
		return
	}
	if s.on != nil {
		s.on(e)
	}
}

func (s *session) listen(on func(agent.Event)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = on
}

// encode returns the line of a request. Secrets travel sealed.
func (s *session) encode(ctx context.Context, req agent.Request) ([]byte, error) {
	if len(req.Secrets) > 0 {
		silent := time.NewTimer(agent.Silence)
		defer silent.Stop()
		select {
		case <-s.keyed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-s.ended:
			return nil, s.died()
		case <-silent.C:
			return nil, s.silenced()
		}
		sealed, err := agent.SealSecrets(s.key, req.Secrets)
		if err != nil {
			return nil, err
		}
		req.Secrets, req.Sealed = nil, sealed
	}
	hosts := s.hosts
	if reflect.DeepEqual(req.Hosts, hosts) {
		req.Hosts = nil // a large cluster has many
	} else if req.Hosts != nil {
		hosts = req.Hosts
	}
	line, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	s.hosts = hosts
	return append(line, '\n'), nil
}

// died returns the error of an agent that has ended without an answer.
func (s *session) died() error {
	err := s.err
	if err == nil {
		err = errors.New("no answer")
	}
	return fmt.Errorf("agent: %w", err)
}

// silenced ends an agent that gives no sign of life.
func (s *session) silenced() error {
	s.mute = true
	s.stop()
	return fmt.Errorf("no sign of life from the agent on %s for %s", s.host, agent.Silence)
}

// call sends a request and waits for the end of its answer.
func (s *session) call(ctx context.Context, req agent.Request, on func(agent.Event)) error {
	line, err := s.encode(ctx, req)
	if err != nil {
		return err
	}
	silent := time.NewTimer(agent.Silence)
	defer silent.Stop()
	end := make(chan error, 1)
	s.listen(func(e agent.Event) {
		silent.Stop() // as long as on takes, the agent cannot be heard
		defer silent.Reset(agent.Silence)
		switch e.Type {
		case agent.EventAlive:
		case agent.EventEnd:
			select {
			case end <- e.Err():
			default: // one is enough
			}
		default:
			on(e)
		}
	})
	defer s.listen(nil)
	go func() { _, _ = s.stdin.Write(line) }() // an error ends the session
	err = s.wait(ctx, end, silent.C)
	if ctx.Err() != nil {
		// The agent's error says only that it had to stop.
		return context.Cause(ctx)
	}
	return err
}

// wait returns the result of a call. When ctx ends, it waits for the end of the agent.
func (s *session) wait(ctx context.Context, end <-chan error, silent <-chan time.Time) error {
	cancelled := ctx.Done()
	for {
		select {
		case <-cancelled:
			// The agent stops when its input ends.
			_, cancelled = s.stdin.Close(), nil
		case err := <-end:
			if ctx.Err() != nil && cancelled == nil {
				continue
			}
			return err
		case <-s.ended:
			select {
			case err := <-end:
				return err
			default:
			}
			return s.died()
		case <-silent:
			return s.silenced()
		}
	}
}

// listenFor waits for a sign of life if the last one is older than it should be. It ends
// the agent if none comes.
func (s *session) listenFor(ctx context.Context) {
	for {
		s.mu.Lock()
		quiet := time.Since(s.heard)
		s.mu.Unlock()
		switch {
		case quiet < 3*agent.Beat:
			return
		case quiet >= agent.Silence:
			_ = s.silenced()
			return
		}
		select {
		case <-s.ended:
			return
		case <-ctx.Done():
			return
		case <-time.After(agent.Beat):
		}
	}
}

// over reports whether the session cannot be used any more, and its error.
func (s *session) over() (ended bool, cause error) {
	if s.mute {
		return true, errors.New("silent")
	}
	select {
	case <-s.ended:
		return true, s.err
	default:
		return false, nil
	}
}

// closing is the time that an agent has to end after its input.
const closing = 5 * time.Second

// close ends the agent.
func (s *session) close() {
	_ = s.stdin.Close()
	late := time.NewTimer(closing)
	defer late.Stop()
	select {
	case <-s.ended:
	case <-late.C:
		s.stop()
	}
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
	w.on(e)
}
