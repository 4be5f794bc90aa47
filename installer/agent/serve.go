package agent

import (
	"bytes"
	"context"
	"crypto/hpke"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/installer/step"
)

// Options replace parts of the host in tests; the zero value is a real host.
type Options struct {
	// Root is prepended to every path.
	Root string
	// Run runs programs; nil means step.Exec.
	Run step.Runner
	// HTTP answers the requests of step.Wait; nil means the network.
	HTTP http.RoundTripper
	// Kinds are the step kinds that items may have; nil means those of
	// installer/step and installer/kube.
	Kinds step.Kinds
	// Probe asks questions; nil means probe.Run.
	Probe func(context.Context, []probe.Probe) []probe.Answer
	// Listen opens sockets; nil means probe.Open.
	Listen func([]probe.Probe) (io.Closer, []probe.Answer)
	// Key opens Request.Sealed; nil means a new one.
	Key hpke.PrivateKey
}

// session is the work on the requests of an operator, one after the other.
type session struct {
	kinds    step.Kinds
	probe    func(context.Context, []probe.Probe) []probe.Answer
	listenOn func([]probe.Probe) (io.Closer, []probe.Answer)
	key      hpke.PrivateKey
	out      *events
	// req is the request in work, and env the host with what the request brings.
	req   Request
	env   *step.Env
	hosts []facts.Member // of the last request

	// The lock of the host, from the first request that needs it to the end of the
	// session, so that nobody else works between two requests.
	unlock func() error
	// journal is protected by the lock. It is nil before, and after an error, which may
	// have left it incomplete.
	journal *journal
	// ahead are looks at items, nil if there are none that count.
	ahead *ahead
	given map[string][]byte // the last value of each secret, by reference
	// stopped are the units that ModeStop stopped and nobody has started.
	stopped []string
	// sockets are those of ModeListen, nil if there are none.
	sockets io.Closer
	// The verified bundle and its origin.
	remote *RemoteBundle
	origin origin
}

// origin is the part of a request that identifies its bundle.
type origin struct {
	Bundle
	Endpoint
}

// Serve reads Requests from in and writes the Events of their answers to out, one request
// after the other, until in ends. The last event of an answer is EventEnd. If in ends
// during a request, or ctx, Serve stops early: it starts no other program, but lets those
// finish that should (step.Cmd.Finish). The journal has the changes that were begun, and
// the next run finishes them. The error is the one of the last answer.
func Serve(ctx context.Context, in io.Reader, out io.Writer, o Options) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := newSession(out, cancel, o)
	defer s.release()
	defer s.closeSockets()
	if err := s.sendKey(); err != nil {
		return err
	}
	var beating sync.WaitGroup
	done := make(chan struct{})
	beating.Go(func() { s.out.beat(done) })
	defer beating.Wait()
	defer close(done)
	lines := listen(ctx, in, cancel)
	var err error
	for {
		select {
		case <-ctx.Done():
			return err
		case l := <-lines:
			err = s.answer(ctx, l)
		}
	}
}

func newSession(out io.Writer, gone context.CancelCauseFunc, o Options) *session {
	s := &session{out: &events{w: out, gone: gone}, kinds: o.Kinds, probe: o.Probe, listenOn: o.Listen, key: o.Key}
	if s.kinds == nil {
		s.kinds = step.All().With(kube.Kinds())
	}
	if s.probe == nil {
		s.probe = probe.Run
	}
	if s.listenOn == nil {
		s.listenOn = probe.Open
	}
	log := slog.New(&logHandler{out: s.out})
	run := o.Run
	if run == nil {
		run = step.Exec{}
	}
	s.env = &step.Env{
		Root: o.Root, Log: log, HTTP: o.HTTP, Hide: s.out.hide.text, Fetch: noBundle, FetchImage: noImage,
		Run: discreet{step.Limited{Runner: run, Log: log}, &s.out.hide},
	}
	return s
}

// answer handles a line of the input and sends the answer.
func (s *session) answer(ctx context.Context, l line) error {
	err := l.err
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrRequest, err)
	} else if s.req, err = parseRequest(l.text); err == nil {
		if s.req.Hosts == nil {
			s.req.Hosts = s.hosts
		}
		s.hosts = s.req.Hosts
		err = s.unsealed(ctx)
	}
	end := Event{Type: EventEnd}
	if err != nil {
		end.Error, end.Code = err.Error(), codeOf(err)
		s.lookAgain()
		s.closeJournal()
	}
	return errors.Join(err, s.out.send(end))
}

// sendKey sends the key for the secrets of the session.
func (s *session) sendKey() (err error) {
	if s.key == nil {
		if s.key, err = NewKey(); err != nil {
			return err
		}
	}
	return s.out.send(Event{Type: EventKey, Key: s.key.PublicKey().Bytes()})
}

// unsealed opens the secrets of the request and handles it.
func (s *session) unsealed(ctx context.Context) error {
	values := maps.Clone(s.req.Secrets)
	if len(s.req.Sealed) > 0 {
		more, err := OpenSecrets(s.key, s.req.Sealed)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrRequest, err)
		}
		maps.Copy(more, values)
		values = more
	}
	s.out.hide.add(values)
	s.compareSecrets(values)
	s.env.Secret, s.env.Fetch, s.env.FetchImage = secrets(values), noBundle, noImage
	return s.run(ctx)
}

// compareSecrets ends the looks ahead if a secret has another value than in an earlier
// request: they compared the host with that one.
func (s *session) compareSecrets(values map[string][]byte) {
	if s.given == nil {
		s.given = map[string][]byte{}
	}
	for ref, value := range values {
		if old, ok := s.given[ref]; ok && !bytes.Equal(old, value) {
			s.lookAgain()
		}
		s.given[ref] = value
	}
}

func (s *session) run(ctx context.Context) error {
	switch s.req.Mode {
	case ModeFacts:
		return s.facts(ctx)
	case ModeTime:
		return s.out.send(Event{Type: EventFacts, Facts: &facts.Facts{Time: time.Now().UTC()}})
	case ModeProbe:
		return s.out.send(Event{Type: EventProbe, Answers: s.probe(ctx, s.req.Probes)})
	case ModeListen:
		s.closeSockets()
		var answers []probe.Answer
		s.sockets, answers = s.listenOn(s.req.Probes)
		return s.out.send(Event{Type: EventProbe, Answers: answers})
	case ModeLock:
		return s.open(ctx)
	case ModeStop:
		s.lookAgain()
		return s.stopUnits(ctx)
	case ModeStart:
		s.lookAgain()
		return s.startUnits(ctx)
	case ModeAhead, ModeCheck, ModeApply, ModeUndo:
	default:
		return fmt.Errorf("%w: mode %q", ErrRequest, s.req.Mode)
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	s.journal.started, s.journal.operator = s.req.Started.UTC(), s.req.Operator
	if err := s.sameCluster(s.journal); err != nil {
		return err
	}
	if s.req.Mode == ModeAhead {
		return s.lookAtAll(ctx)
	}
	if s.req.Mode == ModeUndo {
		if err := s.sameIdentity(s.journal); err != nil {
			return err
		}
		s.lookAgain()
		if err := s.undo(ctx, s.journal); err != nil {
			return err
		}
		s.release() // there is nothing left to lock
		return nil
	}
	err := s.work(ctx, s.journal)
	if s.req.Mode == ModeApply {
		err = errors.Join(err, saveDigests(s.env))
	}
	return err
}

// open locks the host and reads its journal and stamps, unless it has done so.
func (s *session) open(ctx context.Context) (err error) {
	if s.unlock == nil {
		if s.unlock, err = lock(ctx, s.env, s.req); err != nil {
			return err
		}
	}
	if s.journal != nil {
		return nil
	}
	removePartials(s.env)
	j, err := openJournal(s.env)
	if err != nil {
		return err
	}
	marks, err := openStamps(s.env)
	if err != nil {
		return err
	}
	s.env.Stamp, s.env.SetStamp = marks.get, marks.set
	if s.env.Digests == nil {
		s.env.Digests = openDigests(s.env)
	}
	s.journal = j
	return nil
}

// closeJournal makes the next request read the journal again.
func (s *session) closeJournal() {
	if s.journal != nil {
		_ = s.journal.close() // its entries are on disk
	}
	s.journal = nil
}

// release ends the work on the host.
func (s *session) release() {
	s.lookAgain()
	_ = s.startStopped(context.Background()) // if it fails, the timer does it
	s.closeJournal()
	if s.unlock != nil {
		_ = s.unlock() // the end of the process unlocks it too
	}
	s.unlock, s.remote = nil, nil
}

// closeSockets closes the sockets of ModeListen.
func (s *session) closeSockets() {
	if s.sockets != nil {
		_ = s.sockets.Close() // they only answered
	}
	s.sockets = nil
}

// sameCluster refuses a host of another cluster.
func (s *session) sameCluster(j *journal) error {
	if j.owner != nil && j.owner.Cluster != s.req.Cluster {
		return fmt.Errorf("%w: this host belongs to cluster %q, not to %q: reset it first",
			ErrPolicy, j.owner.Cluster, s.req.Cluster)
	}
	if j.owner != nil && j.owner.Host != s.req.Host {
		return fmt.Errorf("%w: this host is %q of the cluster, not %q: a host gets another name only after it was reset",
			ErrPolicy, j.owner.Host, s.req.Host)
	}
	return nil
}

// sameIdentity refuses to undo what another cluster of that name has on this host. An
// operator without the state of the cluster names no identity.
func (s *session) sameIdentity(j *journal) error {
	if j.owner == nil || s.req.Identity == "" {
		return nil
	}
	return Guard(j.owner, s.req.Identity, j.owner.Components)
}

func (s *session) facts(ctx context.Context) error {
	f, err := facts.Collect(ctx, s.env, s.req.Modules)
	if err != nil {
		return fmt.Errorf("collect facts: %w", err)
	}
	j := s.journal
	if j == nil { // not locked: only look
		if j, err = openJournal(s.env); err != nil {
			return err
		}
	}
	marks, err := openStamps(s.env)
	if err != nil {
		return err
	}
	f.Installed, f.EtcdData = j.owner, step.EtcdHasData(marks.values)
	if err := s.out.send(Event{Type: EventFacts, Facts: &f}); err != nil {
		return err
	}
	s.recall(ctx)
	return nil
}

// verified returns the bundle of the request. It verifies a bundle once in a session.
func (s *session) verified(ctx context.Context) (*RemoteBundle, error) {
	from := origin{s.req.Bundle, s.req.Mirror}
	if s.remote != nil && reflect.DeepEqual(s.origin, from) {
		return s.remote, nil
	}
	c, err := openRemote(ctx, s.env, from.Bundle, from.Endpoint)
	if err != nil {
		return nil, err
	}
	s.remote, s.origin = c, from
	return c, nil
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

func noImage(ctx context.Context, _, _ digest.Digest) (io.ReadCloser, error) {
	return noBundle(ctx, "")
}
