// Package hosttest holds fake hosts: Fake answers the program calls that a test expects
// and fails for all others, and Server is an SSH server in this process.
package hosttest

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
)

// Handler answers a program call.
type Handler func(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error

// Fake is a host in memory.
type Fake struct {
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
	h      Handler
}

// New returns a host that knows no program.
func New(t testing.TB, name string) *Fake {
	return &Fake{t: t, name: name, files: map[string]string{}}
}

// On answers calls whose argv, joined by spaces, has the prefix. The last matching rule
// wins.
func (f *Fake) On(prefix string, h Handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on = append(f.on, rule{prefix, h})
}

// Say answers calls with fixed output.
func (f *Fake) Say(prefix, stdout string) {
	f.On(prefix, func(_ context.Context, _ []string, _ io.Reader, out, _ io.Writer) error {
		_, err := io.WriteString(out, stdout)
		return err
	})
}

func (f *Fake) Name() string { return f.name }

// Run fails the test if no rule matches.
func (f *Fake) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	line := strings.Join(argv, " ")
	f.mu.Lock()
	f.calls = append(f.calls, line)
	var h Handler
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

func (f *Fake) Upload(_ context.Context, r io.Reader, size int64, dest string, mode fs.FileMode) error {
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

func (f *Fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
	return nil
}

// Calls returns the calls so far, joined by spaces.
func (f *Fake) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

// File returns mode and content of an uploaded file.
func (f *Fake) File(dest string) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.files[dest]
	return s, ok
}

// Closed reports whether Close was called.
func (f *Fake) Closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gone
}
