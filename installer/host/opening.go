package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/offk8s/offk8s/bundle/reader"
)

// begin prints a mark and becomes the program in its arguments.
const begin = `printf '%s\n' "$1" && shift && exec "$@"`

const (
	maxNoise = 4 << 10         // bytes before a program that an error quotes
	opens    = 2 * time.Minute // until a program begins
)

// opening separates a program's output from the noise before it: the files of a login
// shell print banners, and sudo asks for a password. It gives the password to sudo, and
// to nobody else: the program gets its stdin only when it has begun.
type opening struct {
	host           string
	sudo           *Sudo
	mark, prompt   string
	stdin          io.Writer // of the program
	stdout, stderr io.Writer
	begun          chan struct{} // closed when the program begins

	mu      sync.Mutex
	open    bool
	tail    []byte      // of stdout, shorter than the mark
	noise   reader.Head // stdout before the mark
	said    []byte      // stderr before the mark, without prompts
	verdict func(error) // of the password that was given, until it is known
	err     error
}

func newOpening(host string, sudo *Sudo, stdout, stderr io.Writer) *opening {
	o := &opening{
		host: host, sudo: sudo, stdout: io.Discard, stderr: io.Discard, begun: make(chan struct{}),
		mark: "offk8s-" + rand.Text(), prompt: "offk8s-" + rand.Text() + ": ", noise: reader.Head{Max: maxNoise},
	}
	if stdout != nil {
		o.stdout = stdout
	}
	if stderr != nil {
		o.stderr = stderr
	}
	return o
}

// argv returns the program that prints the mark and becomes argv, as root.
func (o *opening) argv(argv []string, root bool) []string {
	argv = append([]string{"sh", "-c", begin, "sh", o.mark}, argv...)
	switch {
	case root:
		return argv
	case o.sudo == nil:
		return append([]string{"env", "LC_ALL=C", "sudo", "-n", "--"}, argv...)
	}
	return append([]string{"env", "LC_ALL=C", "sudo", "-S", "-p", o.prompt, "--"}, argv...)
}

// run supervises the program like supervise. An error before the mark quotes what was
// printed instead.
func (o *opening) run(ctx context.Context, in io.WriteCloser, stdin io.Reader, wait func() error, kill func()) error {
	over := make(chan struct{})
	defer close(over)
	late := time.AfterFunc(opens, func() {
		if o.fail(fmt.Errorf("%s: no program began within %s", o.host, opens)) {
			kill()
		}
	})
	defer late.Stop()
	return o.result(supervise(ctx, in, &heldReader{stdin, o.begun, over}, wait, kill))
}

// fail notes err if the program has not begun, and reports whether it has not.
func (o *opening) fail(err error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.open && o.err == nil {
		o.err = err
	}
	return !o.open
}

// result returns the error of a program that ended with err.
func (o *opening) result(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open {
		return err
	}
	said := strings.TrimSpace(o.noise.String() + string(o.tail) + "\n" + string(o.said))
	reason := sudoReason(said)
	if _, ended := errors.AsType[*ExitError](err); ended && reason == nil && o.verdict != nil {
		reason = ErrSudoRefused // it got the password
	}
	switch {
	case o.err != nil:
		err = o.err
	case reason != nil:
		err = &SudoError{o.host, said, reason}
	case err == nil:
		err = fmt.Errorf("%s: the login shell ran no program", o.host)
	}
	if _, ok := errors.AsType[*SudoError](err); !ok && said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	o.settle(err)
	return err
}

// settle reports the outcome of the password, if it was given.
func (o *opening) settle(err error) {
	if o.verdict != nil {
		o.verdict(err)
		o.verdict = nil
	}
}

// openingOut is the stdout of a program.
type openingOut struct{ *opening }

func (o openingOut) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open {
		return o.stdout.Write(b)
	}
	o.tail = append(o.tail, b...)
	noise, rest, found := bytes.Cut(o.tail, []byte(o.mark+"\n"))
	if !found {
		if n := len(o.tail) - len(o.mark); n > 0 {
			_, _ = o.noise.Write(o.tail[:n])
			o.tail = o.tail[n:]
		}
		return len(b), nil
	}
	_, _ = o.noise.Write(noise)
	o.open, o.tail = true, nil
	o.settle(nil)
	close(o.begun)
	if len(rest) > 0 {
		if _, err := o.stdout.Write(rest); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// openingErr is the stderr of a program.
type openingErr struct{ *opening }

func (o openingErr) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open {
		return o.stderr.Write(b)
	}
	o.said = append(o.said, b...)
	for {
		before, after, found := bytes.Cut(o.said, []byte(o.prompt))
		if !found {
			break
		}
		quoted := bytes.HasPrefix(after, []byte("'")) // a shell prints the command (set -x)
		if o.said = append(before, after...); !quoted {
			o.answer()
		}
	}
	if len(o.said) > maxNoise { // a prompt may be cut
		o.said = o.said[len(o.said)-maxNoise:]
	}
	return len(b), nil
}

// answer gives the password to sudo, which asks for it. A second question means that it
// was wrong.
func (o *opening) answer() {
	if o.verdict != nil {
		o.err = &SudoError{Host: o.host, Err: ErrSudoRefused}
		o.settle(o.err)
	}
	if o.err == nil {
		o.mu.Unlock() // other hosts may be first
		password, verdict, err := o.sudo.answer(o.host)
		o.mu.Lock()
		if o.err, o.verdict = err, verdict; err == nil {
			line := append(bytes.Clone(password), '\n')
			_, err = o.stdin.Write(line)
			clear(line)
			if err == nil {
				return
			}
			o.err = err
		}
	}
	if c, ok := o.stdin.(io.Closer); ok {
		_ = c.Close() // sudo gives up
	}
}

// heldReader reads when a program has begun; when it is over it has no more.
type heldReader struct {
	r           io.Reader // nil: empty
	begun, over <-chan struct{}
}

func (h *heldReader) Read(b []byte) (int, error) {
	select {
	case <-h.begun:
	case <-h.over:
		return 0, io.EOF
	}
	if h.r == nil {
		return 0, io.EOF
	}
	return h.r.Read(b)
}
