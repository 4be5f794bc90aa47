package mirror

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Next takes the place of the mirror that a Server serves from.
type Next struct {
	Mirror *Mirror // with the options of the one before
	// Done is called when the last request to the mirror before has ended, so that it
	// can be closed with its bundles. If the Server ends first, Done is not called.
	Done func()
}

// serving counts the readers of the current mirror and of those before it.
type serving struct {
	mu      sync.Mutex
	current *lease
}

// lease is a mirror that stays open while it has readers: requests and the scrub.
type lease struct {
	mirror  *Mirror
	readers int
	done    func() // set when another one took its place
}

// enter returns the current mirror for a reader, which calls leave at its end.
func (s *serving) enter() *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.readers++
	return s.current
}

func (s *serving) leave(l *lease) {
	s.mu.Lock()
	l.readers--
	last := l.readers == 0 && l != s.current
	s.mu.Unlock()
	if last && l.done != nil {
		l.done()
	}
}

// replace makes n the current mirror. The counters go on. The caller is a reader of
// the one before.
func (s *serving) replace(n Next) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.Mirror.metrics = s.current.mirror.metrics
	s.current.done = n.Done
	s.current = &lease{mirror: n.Mirror}
}

// now returns the mirror that answers new requests.
func (s *Server) now() *Mirror {
	s.serving.mu.Lock()
	defer s.serving.mu.Unlock()
	if s.serving.current == nil {
		return s.Mirror // before Run
	}
	return s.serving.current.mirror
}

// answer serves a request from the mirror that is current when it begins.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	l := s.serving.enter()
	defer s.serving.leave(l)
	l.mirror.ServeHTTP(w, r)
}

// scrubDelay leaves processor and disk to the first requests.
const scrubDelay = time.Second

// background scrubs the current mirror and replaces it until ctx is done.
func (s *Server) background(ctx context.Context) {
	for ctx.Err() == nil {
		l := s.serving.enter()
		scrub, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if sleep(scrub, scrubDelay) == nil {
				l.mirror.Scrub(scrub)
			}
		}()
		select {
		case <-ctx.Done():
		case n := <-s.Next:
			s.serving.replace(n)
			s.warn(time.Now())
		}
		stop()
		<-ended
		s.serving.leave(l)
	}
}
