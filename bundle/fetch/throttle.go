package fetch

import (
	"context"
	"io"
	"sync"
	"time"
)

// throttle limits the bytes per second of all downloads together.
type throttle struct {
	rate int64 // bytes per second, 0 for no limit
	mu   sync.Mutex
	free time.Time // when the bytes so far will have been paid for
}

// pay waits until n more bytes may have arrived.
func (t *throttle) pay(ctx context.Context, n int) error {
	t.mu.Lock()
	now := time.Now()
	if t.free.Before(now) {
		t.free = now
	}
	t.free = t.free.Add(time.Duration(n) * time.Second / time.Duration(t.rate))
	wait := t.free.Sub(now)
	t.mu.Unlock()
	return sleep(ctx, wait)
}

// limit returns a body of r that takes part in the limit. The pauses are outside of
// r, so that r does not look slow.
func (t *throttle) limit(ctx context.Context, r io.ReadCloser) io.ReadCloser {
	if t.rate <= 0 {
		return r
	}
	return &throttledBody{ReadCloser: r, most: max(t.rate/8, 512), pay: func(n int) error { return t.pay(ctx, n) }}
}

// throttledBody is a body with a limited rate.
type throttledBody struct {
	io.ReadCloser
	most int64 // bytes in one read, so that a slow rate has short pauses
	pay  func(n int) error
}

func (b *throttledBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.most)])
	if n > 0 {
		if wait := b.pay(n); wait != nil && err == nil {
			err = wait
		}
	}
	return n, err
}
