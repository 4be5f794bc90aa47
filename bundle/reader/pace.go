package reader

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrTooSlow means that content arrives more slowly than its Pace.
var ErrTooSlow = errors.New("content arrives too slowly")

// Pace is how slowly content may arrive. Only the time in Read counts, so that a
// slow writer does not make a reader slow. The clock is that of package time,
// which testing/synctest replaces.
type Pace struct {
	// Bytes must arrive again and again, each time within Within, until the
	// content ends. With one byte, Within is the longest pause.
	Bytes  int64
	Within time.Duration
	// Total is the longest time for all of the content; 0 means any.
	Total time.Duration
}

// Paced returns a reader of r that fails with ErrTooSlow if r is slower than p.
// Then it calls stop with that error, from another goroutine and at most once.
// stop must make a Read of r that blocks return, for example by canceling the
// request whose body r is.
func Paced(r io.Reader, p Pace, stop func(error)) io.Reader {
	return &paced{r: r, pace: p, stop: stop}
}

type paced struct {
	r      io.Reader
	pace   Pace
	stop   func(error)
	n      int64         // bytes since Within began
	spent  time.Duration // time in Read since then
	before time.Duration // time in Read until then
	err    error
}

func (p *paced) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	left, slow := p.left()
	start := time.Now()
	fired := make(chan struct{})
	timer := time.AfterFunc(left, func() {
		defer close(fired)
		p.stop(slow)
	})
	n, err := p.r.Read(b)
	if !timer.Stop() {
		<-fired
		p.err = slow
		return n, p.err
	}
	p.spent += time.Since(start)
	if p.n += int64(n); p.n >= p.pace.Bytes {
		p.before, p.spent, p.n = p.before+p.spent, 0, 0
	}
	p.err = err
	return n, err
}

// left returns how long the next Read may take, and the error if it takes longer.
func (p *paced) left() (time.Duration, error) {
	left := p.pace.Within - p.spent
	if total := p.pace.Total - p.before - p.spent; p.pace.Total > 0 && total < left {
		return total, &failure{fmt.Sprintf("content does not end within %s", p.pace.Total), ErrTooSlow}
	}
	if p.pace.Bytes <= 1 {
		return left, &failure{fmt.Sprintf("no data for %s", p.pace.Within), ErrTooSlow}
	}
	return left, &failure{fmt.Sprintf("less than %d bytes in %s", p.pace.Bytes, p.pace.Within), ErrTooSlow}
}
