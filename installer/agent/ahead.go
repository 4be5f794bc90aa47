package agent

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/offk8s/offk8s/installer/step"
)

// lookers is the number of checks of a request that run at the same time.
const lookers = 8

// look is a check of an item, with what the journal has for it.
type look struct {
	env       *step.Env
	own       *record         // the item's
	inherited json.RawMessage // see session.inherited
	res       step.Result
	err       error
	took      time.Duration
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
	start := time.Now()
	defer func() { l.took = time.Since(start) }()
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

// ahead are looks at all items of a request at the same time. They count only until the
// first change: the later items may depend on it, and are checked again.
type ahead struct {
	looks []chan *look
	end   func() // ends the checks that still run, and waits for them
}

// lookAhead begins to check the items. A request that installs something for the first
// time has nothing to gain: it changes the host at the first step.
func (s *session) lookAhead(ctx context.Context, j *journal, items []step.Item) *ahead {
	a := &ahead{end: func() {}}
	known := func(it step.Item) bool { return j.find(keyOf(it)) != nil }
	if len(items) < 2 || s.req.Mode != ModeCheck && !slices.ContainsFunc(items, known) {
		return a
	}
	ctx, cancel := context.WithCancel(ctx)
	run := &sharing{Runner: s.env.Run, calls: map[string]*sharedCall{}}
	var prepared []*look
	for _, it := range items {
		// Here, since the journal is not for concurrent use.
		prepared = append(prepared, s.prepare(j, it))
		a.looks = append(a.looks, make(chan *look, 1))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var g errgroup.Group
		g.SetLimit(lookers)
		for i, it := range items {
			if ctx.Err() != nil {
				break
			}
			g.Go(func() error {
				prepared[i].check(ctx, it, run)
				a.looks[i] <- prepared[i]
				return nil
			})
		}
		_ = g.Wait() // its functions return no error
	}()
	a.end = func() {
		cancel()
		<-done
		a.looks = nil
	}
	return a
}

// look returns the look at an item: the one ahead, as long as nothing has changed.
func (s *session) look(ctx context.Context, j *journal, a *ahead, i int, it step.Item) *look {
	if a.looks != nil {
		select {
		case l := <-a.looks[i]:
			return l
		case <-ctx.Done():
			a.end()
		}
	}
	l := s.prepare(j, it)
	if l.err = context.Cause(ctx); l.err == nil {
		l.check(ctx, it, s.env.Run)
	}
	return l
}

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
