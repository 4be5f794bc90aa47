package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/offk8s/offk8s/installer/step"
)

// lookers is the number of checks of a session that run at the same time.
const lookers = 8

// looksLast is how long a look that a session makes ahead of its requests counts.
const looksLast = 30 * time.Second

// look is a check of an item, with what the journal has for it.
type look struct {
	env       *step.Env
	own       *record         // the item's
	inherited json.RawMessage // see session.inherited
	res       step.Result
	err       error
	took      time.Duration
	began     time.Time
	// Of a look ahead: done is closed at its end, and noted when it logs something.
	it          step.Item
	done, noted chan struct{}
}

// prepare returns a look at an item before its check.
func (s *session) prepare(j *journal, it step.Item) *look {
	env := *s.env
	if hosts := s.req.Awaits[it.ID]; len(hosts) > 0 {
		env.Awaited = step.Awaited{Hosts: hosts, For: s.req.Patience}
	}
	l := &look{env: &env, own: j.find(keyOf(it))}
	if l.own != nil {
		env.Owned, env.Prior = l.own.Done, l.own.Prior
	} else {
		l.inherited, env.Owned = s.inherited(j, it)
	}
	return l
}

// check checks the item with the programs of run.
func (l *look) check(ctx context.Context, it step.Item, run step.Runner) {
	l.began = time.Now()
	defer func() { l.took = time.Since(l.began) }()
	if it.Unless != "" {
		if _, err := os.Lstat(l.env.Path(it.Unless)); err == nil {
			l.res = step.Result{State: step.Skipped, Reason: it.Unless + " exists"}
			return
		}
	}
	env := *l.env
	env.Run = run
	l.res, l.err = it.Step.Check(ctx, &env)
}

// changes reports whether ModeApply changes the host or the journal after this look.
func (l *look) changes() bool {
	switch {
	case l.err != nil || l.res.State == step.Skipped:
		return false
	case l.own == nil:
		return l.res.State == step.Differs || len(l.inherited) > 0
	}
	return l.res.State == step.Differs || l.own.Stale || !l.own.Done
}

// settled reports whether an early look counts: not long ago it found nothing to do and
// had nothing to say.
func (l *look) settled() bool {
	select {
	case <-l.noted:
		return false
	default:
		return l.err == nil && !l.changes() && time.Since(l.began) < looksLast
	}
}

// ahead are looks at many items at the same time. They count only until the first change:
// the other items may depend on it, and are checked again.
type ahead struct {
	early bool             // made before the request, for several of them
	looks map[string]*look // by the JSON of the item
	end   func()           // ends the checks that still run, and waits for them
}

// settled reports whether early looks answer the request.
func (s *session) settled(ctx context.Context) bool {
	if s.ahead == nil || s.req.Fresh {
		return false
	}
	for _, raw := range s.req.Items {
		l := s.ahead.looks[string(raw)]
		if l == nil {
			return false
		}
		select {
		case <-l.done:
		case <-ctx.Done():
			return false
		}
		if !l.settled() {
			return false
		}
	}
	return true
}

// lookAgain ends the looks ahead, since they no longer count.
func (s *session) lookAgain() {
	if s.ahead != nil {
		s.ahead.end()
	}
	s.ahead = nil
}

// recall begins to look at the steps in the journal of a host that is locked: most runs want
// the same. Steps with secrets wait until these are there.
func (s *session) recall(ctx context.Context) {
	if s.journal == nil {
		return
	}
	var items []step.Item
	var raw []json.RawMessage
	for _, r := range s.journal.records {
		it, err := s.kinds.Decode(r.Item)
		if err != nil || r.Stale || !r.Done {
			continue
		}
		if u, ok := it.Step.(step.SecretUser); ok && len(u.Secrets()) > 0 {
			continue
		}
		items, raw = append(items, it), append(raw, r.Item)
	}
	defer s.keep(items)()
	s.lookAgain()
	s.lookAhead(ctx, s.journal, raw, items, true)
}

// lookAtAll begins to look at the items, which the next requests are about, except for those
// that recall looks at. It verifies the bundle meanwhile.
func (s *session) lookAtAll(ctx context.Context) error {
	items, err := s.decode()
	if err != nil {
		return err
	}
	defer s.keep(items)()
	s.lookAhead(ctx, s.journal, s.req.Items, items, true)
	return s.useBundle(ctx, s.journal)
}

// keep sets Env.Kept to the steps of items, until the function that it returns is called.
func (s *session) keep(items []step.Item) func() {
	for _, it := range items {
		s.env.Kept = append(s.env.Kept, it.Step)
	}
	return func() { s.env.Kept = nil }
}

// lookAhead begins to check the items, of which raw is the JSON; early: before their
// request. If the host has none of them, there is nothing to gain: the first step changes it.
func (s *session) lookAhead(ctx context.Context, j *journal, raw []json.RawMessage, items []step.Item, early bool) {
	known := func(it step.Item) bool { return j.find(keyOf(it)) != nil }
	if len(items) < 2 || (early || s.req.Mode != ModeCheck) && !slices.ContainsFunc(items, known) {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	run := &sharing{Runner: s.env.Run, calls: map[string]*sharedCall{}}
	a := &ahead{early: early, looks: map[string]*look{}}
	before := s.ahead
	var prepared []*look
	for i, it := range items {
		if l := before.reuse(raw[i]); l != nil {
			a.looks[string(raw[i])] = l
			continue
		}
		// Here, since the journal is not for concurrent use.
		l := s.prepare(j, it)
		l.done, l.noted = make(chan struct{}), make(chan struct{})
		if early {
			l.env.Log = slog.New(&noteHandler{noted: sync.OnceFunc(func() { close(l.noted) })})
		}
		l.it = it
		prepared = append(prepared, l)
		a.looks[string(raw[i])] = l
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var g errgroup.Group
		g.SetLimit(lookers)
		for _, l := range prepared {
			if ctx.Err() != nil {
				break
			}
			g.Go(func() error {
				l.check(ctx, l.it, run)
				close(l.done)
				return nil
			})
		}
		_ = g.Wait() // its functions return no error
	}()
	a.end = func() {
		cancel()
		<-done
		if before != nil {
			before.end()
		}
	}
	s.ahead = a
}

// reuse returns the look at an item that may still count, nil if there is none.
func (a *ahead) reuse(raw json.RawMessage) *look {
	if a == nil || a.looks[string(raw)] == nil {
		return nil
	}
	l := a.looks[string(raw)]
	select {
	case <-l.done:
		if !l.settled() {
			return nil
		}
	default:
	}
	return l
}

// look returns the look at an item: the one ahead, as long as nothing has changed.
func (s *session) look(ctx context.Context, j *journal, raw json.RawMessage, it step.Item) *look {
	if s.ahead != nil {
		l := s.ahead.looks[string(raw)]
		select {
		case <-l.done:
			return l
		case <-ctx.Done():
			s.lookAgain()
		}
	}
	l := s.prepare(j, it)
	if l.err = context.Cause(ctx); l.err == nil {
		l.check(ctx, it, s.env.Run)
	}
	return l
}

// noteHandler notes that something is logged that an operator should see at once.
type noteHandler struct{ noted func() }

func (h *noteHandler) Enabled(_ context.Context, l slog.Level) bool { return l > slog.LevelDebug }

func (h *noteHandler) Handle(context.Context, slog.Record) error {
	h.noted()
	return nil
}

func (h *noteHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h *noteHandler) WithGroup(string) slog.Handler { return h }

// sharing is the Runner of checks that run at the same time. Since checks change nothing,
// equal calls have equal results, and one is enough. Failures are not shared: the reason
// may be the context of the caller.
type sharing struct {
	step.Runner
	mu    sync.Mutex
	calls map[string]*sharedCall
}

type sharedCall struct {
	done chan struct{} // closed when the result is set
	out  step.Output
	err  error
}

func (s *sharing) Run(ctx context.Context, c step.Cmd) (step.Output, error) {
	key, err := json.Marshal(c)
	if err != nil {
		return step.Output{}, err
	}
	s.mu.Lock()
	call, made := s.calls[string(key)]
	if !made {
		call = &sharedCall{done: make(chan struct{})}
		s.calls[string(key)] = call
	}
	s.mu.Unlock()
	if !made {
		call.out, call.err = s.Runner.Run(ctx, c)
		close(call.done)
		return call.out, call.err
	}
	select {
	case <-call.done:
	case <-ctx.Done():
		return step.Output{}, context.Cause(ctx)
	}
	if call.err != nil {
		return s.Runner.Run(ctx, c)
	}
	return call.out, nil
}
