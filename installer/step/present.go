package step

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Present waits until files exist that a pod or a daemon makes, and changes nothing.
type Present struct {
	NoUndo
	Files []string `json:"files"`
	// Logs are patterns of the maker's log files (path.Match). The error of the wait
	// ends with the last lines of the newest one.
	Logs    []string `json:"logs,omitempty"`
	Timeout Duration `json:"timeout,omitempty"` // default 5 minutes
	// Text describes the condition, "the pod network is up".
	Text string `json:"text,omitempty"`
}

func (p *Present) Kind() string { return "present" }

func (p *Present) Observes() bool { return true }

func (p *Present) Describe() string {
	return "wait: " + cmp.Or(p.Text, strings.Join(p.Files, ", ")+" exist")
}

func (p *Present) Validate() error {
	var errs []error
	if len(p.Files) == 0 {
		errs = append(errs, errors.New("files: none"))
	}
	for _, f := range p.Files {
		errs = append(errs, checkPath("file", f))
	}
	for _, l := range p.Logs {
		_, err := filepath.Match(l, "")
		errs = append(errs, checkPath("logs", l), err)
	}
	return errors.Join(errs...)
}

func (p *Present) Check(ctx context.Context, env *Env) (Result, error) {
	missing, err := p.missing(env)
	if err == nil && missing == "" {
		return Result{State: Verified}, nil
	}
	return CheckResult(ctx, missing, err)
}

func (p *Present) Apply(ctx context.Context, env *Env) (Result, error) {
	limit := cmp.Or(time.Duration(p.Timeout), 5*time.Minute)
	err := Poll(ctx, env, limit, time.Second, strings.TrimPrefix(p.Describe(), "wait: "),
		func(context.Context) (string, error) { return p.missing(env) })
	if err != nil && ctx.Err() == nil {
		return Result{}, fmt.Errorf("%w\n%s", err, p.log(env))
	}
	return Result{State: Verified}, err
}

// missing names the first file that does not exist, "" if all do.
func (p *Present) missing(env *Env) (string, error) {
	for _, f := range p.Files {
		if _, err := os.Stat(env.Path(f)); errors.Is(err, fs.ErrNotExist) {
			return fmt.Sprintf("no %s", f), nil
		} else if err != nil {
			return "", err
		}
	}
	return "", nil
}

// log returns the last lines of the newest log that has any.
func (p *Present) log(env *Env) string {
	var newest string
	var at time.Time
	for _, pattern := range p.Logs {
		names, _ := filepath.Glob(env.Path(pattern))
		for _, name := range names {
			if st, err := os.Stat(name); err == nil && st.Mode().IsRegular() && st.Size() > 0 && st.ModTime().After(at) {
				newest, at = name, st.ModTime()
			}
		}
	}
	if newest == "" {
		return "no container of it has written a log on this host"
	}
	text, err := readTail(newest, 64<<10)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s ends:\n%s", strings.TrimPrefix(newest, env.Root), env.LastLines(containerLog(text), LogLines))
}

// readTail returns the last n bytes of a file, or less.
func readTail(name string, n int64) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, max(0, st.Size()-n), n))
	return string(b), err
}

// containerLog removes time, stream and tag, which container runtimes write before
// each line (kubernetes/design-proposals-archive, kubelet-cri-logging).
func containerLog(text string) string {
	var b strings.Builder
	for l := range strings.Lines(text) {
		if f := strings.SplitN(l, " ", 4); len(f) == 4 && (f[1] == "stdout" || f[1] == "stderr") {
			l = f[3]
		}
		b.WriteString(l)
	}
	return b.String()
}

// LogLines is the number of lines of a log that an error quotes.
const LogLines = 15

// LastLines removes the secrets from text and returns its last n lines, each of 300
// bytes at most.
func (e *Env) LastLines(text string, n int) string {
	if e.Hide != nil {
		text = e.Hide(text)
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	lines = lines[max(0, len(lines)-n):]
	for i, l := range lines {
		if len(l) > 300 {
			lines[i] = strings.ToValidUTF8(l[:300], "") + " …"
		}
	}
	return strings.Join(lines, "\n")
}
