package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests/strict"
)

// Options replace parts of the host in tests; the zero value is a real host.
type Options struct {
	// Root is prepended to every path.
	Root string
	// Run runs programs; nil means step.Exec.
	Run step.Runner
	// Kinds are the step kinds that items may have; nil means those of
	// installer/step and installer/kube.
	Kinds step.Kinds
}

// session is the work on one request.
type session struct {
	req   Request
	env   *step.Env
	kinds step.Kinds
	out   *events
}

// Serve reads one Request from in, executes it and writes Events to out. The last
// event is EventEnd with the error that Serve returns. Serve stops early if ctx ends
// or, with Request.Hold, if in ends; the journal then has the changes that were begun,
// and the next run finishes them.
func Serve(ctx context.Context, in io.Reader, out io.Writer, o Options) error {
	ev := &events{w: out}
	err := serve(ctx, in, ev, o)
	end := Event{Type: EventEnd}
	if err != nil {
		end.Error, end.Code = err.Error(), codeOf(err)
	}
	return errors.Join(err, ev.send(end))
}

func serve(ctx context.Context, in io.Reader, out *events, o Options) error {
	br := bufio.NewReaderSize(in, 64<<10)
	req, err := readRequest(br)
	if err != nil {
		return err
	}
	out.hide = newRedactor(req.Secrets)
	if req.Hold {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		go func() {
			_, _ = io.Copy(io.Discard, br)
			cancel(errors.New("the operator went away"))
		}()
	}
	s := &session{req: req, out: out, kinds: o.Kinds, env: &step.Env{
		Root: o.Root, Run: o.Run, Log: slog.New(&logHandler{out: out}),
		Secret: secrets(req.Secrets), Hide: out.hide.text, Fetch: noBundle,
	}}
	if s.kinds == nil {
		s.kinds = step.All().With(kube.Kinds())
	}
	if s.env.Run == nil {
		s.env.Run = step.Exec{}
	}
	s.env.Run = discreet{s.env.Run, out.hide}
	return s.run(ctx)
}

func (s *session) run(ctx context.Context) error {
	switch s.req.Mode {
	case ModeFacts:
		return s.facts(ctx)
	case ModeCheck, ModeApply, ModeUndo:
	default:
		return fmt.Errorf("%w: mode %q", ErrRequest, s.req.Mode)
	}
	unlock, err := lock(s.env)
	if err != nil {
		return err
	}
	defer unlock()
	j, err := openJournal(s.env)
	if err != nil {
		return err
	}
	defer j.close()
	if err := s.sameCluster(j); err != nil {
		return err
	}
	marks, err := openStamps(s.env)
	if err != nil {
		return err
	}
	s.env.Stamp, s.env.SetStamp = marks.get, marks.set
	if s.req.Mode == ModeUndo {
		return s.undo(ctx, j)
	}
	return s.work(ctx, j)
}

// sameCluster refuses a host of another cluster.
func (s *session) sameCluster(j *journal) error {
	if j.owner != nil && j.owner.Cluster != s.req.Cluster {
		return fmt.Errorf("%w: this host belongs to cluster %q, not to %q: reset it first",
			ErrPolicy, j.owner.Cluster, s.req.Cluster)
	}
	return nil
}

func (s *session) facts(ctx context.Context) error {
	f, err := facts.Collect(ctx, s.env)
	if err != nil {
		return fmt.Errorf("collect facts: %w", err)
	}
	j, err := openJournal(s.env)
	if err != nil {
		return err
	}
	f.Installed = j.owner
	return s.out.send(Event{Type: EventFacts, Facts: &f})
}

// readRequest reads the first line.
func readRequest(br *bufio.Reader) (Request, error) {
	var req Request
	line, err := readLine(br, maxRequest)
	if err != nil {
		return req, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	// The version first: another version may have fields that are unknown here.
	var v struct {
		Protocol string `json:"protocol"`
	}
	if err := json.Unmarshal(line, &v); err != nil {
		return req, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if v.Protocol != Protocol {
		return req, fmt.Errorf("%w: protocol %q, this agent speaks %q", ErrRequest, v.Protocol, Protocol)
	}
	if err := strict.DecodeJSON(line, &req); err != nil {
		return req, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return req, nil
}

// readLine returns a line of at most limit bytes; the last line may lack its newline.
func readLine(br *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		if line = append(line, part...); len(line) > limit {
			return nil, fmt.Errorf("more than %d bytes", limit)
		}
		switch {
		case err == nil, errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

func secrets(values map[string][]byte) func(step.SecretRef) ([]byte, error) {
	return func(ref step.SecretRef) ([]byte, error) {
		if v, ok := values[string(ref)]; ok {
			return v, nil
		}
		return nil, fmt.Errorf("secret %q: not in the request", ref)
	}
}

func noBundle(context.Context, digest.Digest) (io.ReadCloser, error) {
	return nil, errors.New("the request names no bundle")
}

// events writes events as lines of JSON, without secrets. Safe for concurrent use.
type events struct {
	mu   sync.Mutex
	w    io.Writer
	hide redactor
}

func (e *events) send(ev Event) error {
	b, err := json.Marshal(e.hide.event(ev))
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	_, err = e.w.Write(append(b, '\n'))
	return err
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
