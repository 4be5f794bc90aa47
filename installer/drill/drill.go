// Package drill stops services of a cluster that runs, one host after the other, and
// measures how long a client cannot write meanwhile.
//
//	gates hold ─▶ stop ─▶ writes go on ─▶ start ─▶ gates hold ─▶ next drill
//
// Run has the order, Writer is the client. The hosts are behind the interface Cluster.
package drill

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/stage"
)

const (
	// recovery is the time within which writes must succeed again.
	recovery = time.Minute
	// patience is how long the gates before a stop may take, and putBack those after the
	// start, when members catch up.
	patience = 20 * time.Second
	putBack  = 2 * time.Minute
)

// Cluster is the hosts of a drill.
type Cluster interface {
	// Healthy waits until every part of the cluster works. The error names those that do
	// not within the time.
	Healthy(ctx context.Context, within time.Duration) error
	// Stop stops the units of a drill. They may be stopped even if it returns an error.
	Stop(ctx context.Context, d stage.Drill) error
	// Start starts them again. It does not depend on whether ctx has ended.
	Start(ctx context.Context, d stage.Drill) error
}

// RefusedError is the reason why a drill would be dangerous, so that nothing was stopped.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return "nothing is stopped: " + e.Err.Error() }

func (e *RefusedError) Unwrap() error { return e.Err }

// Verdict is the outcome of a drill.
type Verdict string

// The verdicts.
const (
	OK           Verdict = "ok"
	TooLong      Verdict = "too long"      // the outage exceeds the limit
	NotRecovered Verdict = "not recovered" // no steady writes within a minute
	NotBack      Verdict = "not put back"  // a service does not work again
	BadWrites    Verdict = "bad writes"    // acknowledged writes are lost, or wrong ones appeared
	Failed       Verdict = "failed"        // the services could not be stopped
	Interrupted  Verdict = "interrupted"
	NotDrilled   Verdict = "not drilled"
)

// Result is the outcome of one drill.
type Result struct {
	Drill   string   `json:"drill"`
	Host    string   `json:"host,omitempty"`
	Stopped []string `json:"stopped,omitempty"` // units
	Outage  int64    `json:"outageMs"`          // the longest time between two acknowledged writes
	Limit   int64    `json:"limitMs"`
	Count
	Verdict Verdict `json:"verdict"` // ok, too long, not recovered, not put back, bad writes, failed, interrupted or not drilled
	Reason  string  `json:"reason,omitempty"`
}

// Failed reports whether the cluster did not do what it should.
func (r Result) Failed() bool { return r.Verdict != OK && r.Verdict != NotDrilled }

// Run does the drills one after the other. Only one thing is stopped at a time: before each
// stop everything has to work. What was stopped is started again in every case. After the
// first drill that leaves something broken, the others are not drilled. on, if set, receives
// each result as it comes.
//
// The error is a *RefusedError if a gate did not hold before the first stop, or the cause
// of the end of ctx. It is nil if the drills were done, whatever their verdicts.
func Run(ctx context.Context, drills []stage.Drill, c Cluster, w *Writer, on func(Result)) ([]Result, error) {
	var out []Result
	var broken string
	for _, d := range drills {
		r := Result{Drill: d.Name, Host: d.Host, Stopped: d.Units, Limit: d.Limit.Milliseconds(), Reason: d.Note}
		var err error
		switch {
		case d.Host == "":
			r.Verdict = NotDrilled
		case broken != "":
			r.Verdict, r.Reason = NotDrilled, broken
		default:
			err = one(ctx, d, c, w, &r)
		}
		if refused, ok := errors.AsType[*RefusedError](err); ok {
			if !drilled(out) {
				return out, err
			}
			r.Verdict, r.Reason, err = NotDrilled, refused.Error(), nil
			broken = "the cluster did not work before the drill " + d.Name
		}
		if r.Verdict == NotBack || r.Verdict == NotRecovered || r.Verdict == Failed {
			broken = fmt.Sprintf("after the drill %s the cluster does not work as before", d.Name)
		}
		if r.Verdict == NotDrilled {
			r.Stopped = nil
		}
		out = append(out, r)
		if on != nil {
			on(r)
		}
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

func drilled(results []Result) bool {
	for _, r := range results {
		if r.Verdict != NotDrilled {
			return true
		}
	}
	return false
}

// one does one drill and completes its result.
func one(ctx context.Context, d stage.Drill, c Cluster, w *Writer, r *Result) error {
	r.Verdict = NotDrilled
	err := c.Healthy(ctx, patience)
	if err == nil {
		err = w.Steady(ctx, patience)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil {
		return &RefusedError{err}
	}
	w.Mark()
	stopped := c.Stop(ctx, d)
	recovered := stopped
	if stopped == nil {
		recovered = w.Steady(ctx, recovery)
	}
	back := c.Start(context.WithoutCancel(ctx), d)
	if back == nil && ctx.Err() == nil {
		if back = c.Healthy(ctx, putBack); back == nil {
			back = w.Steady(ctx, recovery)
		}
	}
	outage, count := w.Measure()
	r.Outage, r.Count = outage.Milliseconds(), count
	switch cause := context.Cause(ctx); {
	case cause != nil:
		r.Verdict = Interrupted
		if errors.Is(back, cause) {
			back = nil
		}
		return errors.Join(cause, back)
	case back != nil:
		r.Verdict, r.Reason = NotBack, back.Error()
	case stopped != nil:
		r.Verdict, r.Reason = Failed, stopped.Error()
	case recovered != nil:
		r.Verdict, r.Reason = NotRecovered, recovered.Error()
	case r.Lost > 0 || r.Wrong > 0:
		r.Verdict, r.Reason = BadWrites, fmt.Sprintf("%d acknowledged writes are lost, %d were never made", r.Lost, r.Wrong)
	case r.Outage > r.Limit:
		r.Verdict = TooLong
	default:
		r.Verdict = OK
	}
	return nil
}

// Failures returns the drills that failed, "" if none did.
func Failures(results []Result) string {
	var out []string
	for _, r := range results {
		if r.Failed() {
			out = append(out, r.Drill+" on "+r.Host+": "+string(r.Verdict))
		}
	}
	return strings.Join(out, "; ")
}
