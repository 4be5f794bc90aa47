package drill

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/offk8s/offk8s/bundle/reader"
)

const (
	// every is the time between two writes, and clientTimeout the limit of a request.
	every         = 50 * time.Millisecond
	clientTimeout = time.Second
	// steady is how long writes must succeed without a pause of more than calm until the
	// cluster counts as recovered.
	steady = 3 * time.Second
	calm   = time.Second

	maxAnswer = 1 << 20 // bytes

	namespace  = "kube-system"
	objectName = "offk8s-drill"
)

// Writer is a client that writes an increasing number into a ConfigMap of the cluster and
// reads it back, as a user's program would: a request may take one second, and after a
// failure the next one has a new connection.
//
// Each write carries the version that the one before it returned. Thus a write that
// succeeds proves that its predecessor is there, and one that fails and arrives late
// changes nothing.
type Writer struct {
	client *http.Client
	url    string // of the collection
	cancel context.CancelFunc
	done   chan struct{} // closed when the last write has ended

	// Of the goroutine that writes.
	version string       // of the object; "" after a failure
	number  int          // the one that must be there
	maybe   map[int]bool // numbers whose writes failed, and that may be there

	mu       sync.Mutex
	count    Count
	last     time.Time     // of the last acknowledged write
	since    time.Time     // the writes have had no pause since then
	gap      time.Duration // the longest between two acknowledged writes since Mark
	acked    int           // the last acknowledged number
	verified int           // the last number that was read back, or replaced
	failure  error         // the last one
}

// Count counts the writes since Mark.
type Count struct {
	Writes int `json:"writes"` // acknowledged
	Lost   int `json:"lost"`   // acknowledged, and not there later
	Wrong  int `json:"wrong"`  // read, and never written
}

// UnreachableError means that this machine cannot write at the endpoint of the cluster.
type UnreachableError struct {
	Server string // URL
	Err    error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("the API at %s cannot be used from this machine: %v", e.Server, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// Start creates the ConfigMap and begins to write. server is the URL of the API, and tr
// connects to it with the credential of an administrator. The caller ends it with Close.
// The error is an *UnreachableError.
func Start(ctx context.Context, server string, tr http.RoundTripper) (*Writer, error) {
	w := &Writer{
		client: &http.Client{Transport: tr, Timeout: clientTimeout},
		url:    server + "/api/v1/namespaces/" + namespace + "/configmaps",
		done:   make(chan struct{}), maybe: map[int]bool{},
	}
	if err := w.create(ctx); err != nil {
		return nil, &UnreachableError{server, err}
	}
	w.last = time.Now()
	w.since = w.last
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.cancel = cancel
	go w.run(run)
	return w, nil
}

// create makes the ConfigMap. It tries again when there is no answer, since the first
// connection may be slow.
func (w *Writer) create(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		err := w.remove(ctx) // that of a drill that was killed
		if err == nil {
			var o configMap
			o, err = w.send(ctx, http.MethodPost, 0)
			w.version = o.Metadata.ResourceVersion
		}
		_, answered := errors.AsType[*statusError](err)
		if err == nil || answered || attempt == 3 || ctx.Err() != nil {
			return err
		}
	}
}

// Close ends the writing and removes the ConfigMap.
func (w *Writer) Close() error {
	w.cancel()
	<-w.done
	defer w.client.CloseIdleConnections()
	var err error
	for range 3 {
		if err = w.remove(context.Background()); err == nil {
			return nil
		}
	}
	return fmt.Errorf("remove the ConfigMap %s/%s: %w", namespace, objectName, err)
}

func (w *Writer) run(ctx context.Context) {
	defer close(w.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.write(ctx, n)
		}
	}
}

// write writes n and reads it back. After a failure it first reads what is there.
func (w *Writer) write(ctx context.Context, n int) {
	if w.version == "" && !w.read(ctx) {
		return
	}
	o, err := w.send(ctx, http.MethodPut, n)
	if err != nil {
		w.maybe[n] = true
		w.failed(err)
		return
	}
	w.version, w.number = o.Metadata.ResourceVersion, n
	clear(w.maybe)
	w.acknowledged(n)
	w.read(ctx)
}

// read compares what is there with what must be, and reports whether it could be read.
func (w *Writer) read(ctx context.Context) bool {
	o, err := w.send(ctx, http.MethodGet, 0)
	if notFound(err) {
		w.add(Count{Lost: 1})
		if o, err = w.send(ctx, http.MethodPost, w.number); err == nil {
			o.Data = map[string]string{"n": strconv.Itoa(w.number)}
		}
	}
	if err != nil {
		w.failed(err)
		return false
	}
	got, err := strconv.Atoi(o.Data["n"])
	switch {
	case err != nil || got > w.number && !w.maybe[got]:
		w.add(Count{Wrong: 1})
	case got < w.number:
		w.add(Count{Lost: 1})
	}
	w.version, w.number = o.Metadata.ResourceVersion, got
	delete(w.maybe, got)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verified = w.acked
	return true
}

func (w *Writer) add(c Count) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count.Writes += c.Writes
	w.count.Lost += c.Lost
	w.count.Wrong += c.Wrong
}

func (w *Writer) acknowledged(n int) {
	w.add(Count{Writes: 1})
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	pause := now.Sub(w.last)
	if pause > calm {
		w.since = now
	}
	w.gap, w.last, w.acked = max(w.gap, pause), now, n
}

// failed notes a failure. The next request has a new connection.
func (w *Writer) failed(err error) {
	w.version = ""
	w.client.CloseIdleConnections()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failure = err
}

// Mark begins a measurement.
func (w *Writer) Mark() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gap, w.count = 0, Count{}
}

// Measure returns the longest time without an acknowledged write since Mark, and the counts.
func (w *Writer) Measure() (outage time.Duration, c Count) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(w.gap, time.Since(w.last)), w.count
}

// Steady waits until writes have succeeded for some seconds from now on, and every
// acknowledged write was read back. After the timeout the error says why they do not.
func (w *Writer) Steady(ctx context.Context, timeout time.Duration) error {
	began := time.Now()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			w.mu.Lock()
			defer w.mu.Unlock()
			err := fmt.Errorf("no steady writes within %s", timeout)
			if w.failure != nil {
				err = fmt.Errorf("%w, last: %w", err, w.failure)
			}
			return err
		case <-tick.C:
			if w.isSteady(began) {
				return nil
			}
		}
	}
}

func (w *Writer) isSteady(began time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	from := w.since
	if began.After(from) {
		from = began
	}
	return w.last.Sub(from) >= steady && time.Since(w.last) <= calm && w.verified == w.acked
}

// configMap has the fields of a ConfigMap that the writer uses.
type configMap struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion,omitempty"`
	} `json:"metadata"`
	Data map[string]string `json:"data"`
}

// statusError is an answer of the API that is no success.
type statusError struct {
	method  string
	code    int
	message string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s: %d %s", e.method, e.code, cmp.Or(e.message, http.StatusText(e.code)))
}

// remove removes the ConfigMap, if it is there.
func (w *Writer) remove(ctx context.Context) error {
	_, err := w.send(ctx, http.MethodDelete, 0)
	if notFound(err) {
		return nil
	}
	return err
}

func notFound(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.code == http.StatusNotFound
}

// send sends one request, with the number n if it writes, and returns the object in the
// answer.
func (w *Writer) send(ctx context.Context, method string, n int) (o configMap, err error) {
	url := w.url
	if method != http.MethodPost {
		url += "/" + objectName
	}
	var body io.Reader
	if method == http.MethodPost || method == http.MethodPut {
		o.Metadata.Name, o.Data = objectName, map[string]string{"n": strconv.Itoa(n)}
		if method == http.MethodPut {
			o.Metadata.ResourceVersion = w.version
		}
		b, err := json.Marshal(o)
		if err != nil {
			return o, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return o, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	resp, err := w.client.Do(req)
	if err != nil {
		return o, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(reader.Limit(resp.Body, maxAnswer))
	if err != nil {
		return o, err
	}
	if resp.StatusCode/100 != 2 {
		var status struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(b, &status) // other answers have no message
		return o, &statusError{method, resp.StatusCode, status.Message}
	}
	o = configMap{}
	if err := json.Unmarshal(b, &o); err != nil {
		return o, fmt.Errorf("%s: %w", method, err)
	}
	return o, nil
}
