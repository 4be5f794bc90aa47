package installer_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
)

// handler answers a program call.
type handler func(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error

// fakeHost is a host in memory.
type fakeHost struct {
	t    testing.TB
	name string

	mu    sync.Mutex
	on    []rule
	files map[string]string
	calls []string
	gone  bool
}

type rule struct {
	prefix string
	h      handler
}

// newFakeHost returns a host that knows no program.
func newFakeHost(t testing.TB, name string) *fakeHost {
	f := &fakeHost{t: t, name: name, files: map[string]string{}}
	f.Say("sh -c was=", "") // after an upload of the program
	return f
}

// On answers calls whose argv, joined by spaces, has the prefix. The last matching rule
// wins.
func (f *fakeHost) On(prefix string, h handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on = append(f.on, rule{prefix, h})
}

// Say answers calls with fixed output.
func (f *fakeHost) Say(prefix, stdout string) {
	f.On(prefix, func(_ context.Context, _ []string, _ io.Reader, out, _ io.Writer) error {
		_, err := io.WriteString(out, stdout)
		return err
	})
}

func (f *fakeHost) Name() string { return f.name }

// Run fails the test if no rule matches.
func (f *fakeHost) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	line := strings.Join(argv, " ")
	f.mu.Lock()
	f.calls = append(f.calls, line)
	var h handler
	for _, r := range f.on {
		if strings.HasPrefix(line, r.prefix) {
			h = r.h
		}
	}
	f.mu.Unlock()
	if h == nil {
		f.t.Errorf("host %s: unexpected call %q", f.name, line)
		return fmt.Errorf("host %s: unexpected call %q", f.name, line)
	}
	return h(ctx, argv, stdin, stdout, stderr)
}

func (f *fakeHost) Upload(_ context.Context, r io.Reader, size int64, dest string, mode fs.FileMode) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if int64(len(b)) != size {
		return fmt.Errorf("host %s: upload %q: %d bytes, announced %d", f.name, dest, len(b), size)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[dest] = fmt.Sprintf("%s %s", mode, b)
	return nil
}

func (f *fakeHost) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
	return nil
}

// Calls returns the calls so far, joined by spaces.
func (f *fakeHost) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

// File returns mode and content of an uploaded file.
func (f *fakeHost) File(dest string) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.files[dest]
	return s, ok
}

// Closed reports whether Close was called.
func (f *fakeHost) Closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gone
}
