package reader_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/offk8s/offk8s/bundle/reader"
)

// drip returns a body that sends size bytes, step of them every pause, and then
// ends, or waits for its end by stop.
func drip(size, step int, pause time.Duration) (body *io.PipeReader, stop func(error)) {
	body, w := io.Pipe()
	go func() {
		for sent := 0; sent < size; sent += step {
			if _, err := w.Write(make([]byte, min(step, size-sent))); err != nil {
				return
			}
			time.Sleep(pause)
		}
		w.Close()
	}()
	return body, func(err error) { body.CloseWithError(err) }
}

func TestPaced(t *testing.T) {
	pace := reader.Pace{Bytes: 600, Within: time.Minute, Total: time.Hour}
	tests := []struct {
		name string
		pace reader.Pace
		size int
		step int
		wait time.Duration
		ends time.Duration // after which Read fails; 0: it does not
		text string
	}{
		{"fast", pace, 1 << 20, 1 << 12, time.Second, 0, ""},
		{"as slow as it may be", pace, 6000, 11, time.Second, 0, ""},
		{"short", pace, 5, 5, time.Second, 0, ""},
		{"one byte a second", pace, 1 << 20, 1, time.Second, time.Minute, "less than 600 bytes in 1m0s"},
		{"stalls at once", pace, 1, 1, 24 * time.Hour, time.Minute, "less than 600 bytes"},
		{"stalls after a while", pace, 6000, 3000, 24 * time.Hour, time.Minute, "less than 600 bytes"},
		{"never ends", pace, 1 << 30, 100, time.Second, time.Hour, "does not end within 1h0m0s"},
		{"one byte within the pause", reader.Pace{Bytes: 1, Within: time.Minute}, 10, 1, 50 * time.Second, 0, ""},
		{"longer pause", reader.Pace{Bytes: 1, Within: time.Minute}, 10, 1, 70 * time.Second, time.Minute, "no data for 1m0s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body, stop := drip(tt.size, tt.step, tt.wait)
				defer body.Close()
				start := time.Now()
				r := reader.Paced(body, tt.pace, stop)
				_, err := io.Copy(io.Discard, r)
				if tt.ends == 0 {
					if err != nil {
						t.Errorf("after %s: %v", time.Since(start), err)
					}
					return
				}
				if !errors.Is(err, reader.ErrTooSlow) || !strings.Contains(err.Error(), tt.text) || time.Since(start) > tt.ends {
					t.Errorf("after %s: got %v, want %q within %s", time.Since(start), err, tt.text, tt.ends)
				}
				if n, again := r.Read(make([]byte, 8)); n != 0 || again != err {
					t.Errorf("second error %v after %v", again, err)
				}
				body.Close()
				time.Sleep(48 * time.Hour) // for the goroutine of drip
			})
		})
	}
}

// A writer that pauses, such as a slow disk, is not the fault of the reader.
func TestPacedIgnoresTheTimeBetweenReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := reader.Paced(strings.NewReader("hello"), reader.Pace{Bytes: 100, Within: time.Second, Total: time.Minute},
			func(err error) { t.Error(err) })
		for range 5 {
			if _, err := io.ReadFull(r, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
	})
}
