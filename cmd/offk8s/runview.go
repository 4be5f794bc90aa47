package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
)

// screen is the part of a terminal that a runView uses: lines that stay, above a frame
// that is drawn again and again.
type screen interface {
	// above writes a line that stays.
	above(line string)
	// close removes the frame.
	close()
}

// runView draws the stage that runs, with the step that runs on each host. Stages that
// have ended, warnings and failures scroll away above; with -v, every step too.
type runView struct {
	open    func(frame func(width, height int) []string) screen
	write   func(line string) // without a frame
	verbose int

	mu     sync.Mutex // not held while the screen is in use, which calls frame
	act    activity
	screen screen
}

func newRunView(w io.Writer, verbose int) *runView {
	return &runView{
		open:    func(frame func(width, height int) []string) screen { return openTerminal(w, frame) },
		write:   func(line string) { fmt.Fprintln(w, line) },
		verbose: verbose, act: activity{now: time.Now},
	}
}

func (v *runView) StageStart(name, title string, hosts int) {
	v.mu.Lock()
	v.act.start(name, title, hosts)
	isOpen := v.screen != nil
	v.mu.Unlock()
	if isOpen {
		return
	}
	s := v.open(v.frame)
	v.mu.Lock()
	v.screen = s
	v.mu.Unlock()
}

func (v *runView) frame(width, height int) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.act.frame(width, height)
}

func (v *runView) Event(_, host string, e agent.Event) {
	v.mu.Lock()
	v.act.event(host, e)
	v.mu.Unlock()
	if line := eventLine(host, e, v.verbose, false); line != "" {
		v.stay(line)
	}
}

func (v *runView) StageEnd(r installer.StageReport) {
	v.mu.Lock()
	clear(v.act.running)
	v.mu.Unlock()
	v.stay(stageLine(v.act.now(), r))
}

// stay writes a line that stays.
func (v *runView) stay(line string) {
	v.mu.Lock()
	s := v.screen
	v.mu.Unlock()
	if s == nil {
		v.write(line)
		return
	}
	s.above(line)
}

// pause removes the frame until the next stage begins, for other output.
func (v *runView) pause() {
	v.mu.Lock()
	s := v.screen
	v.screen = nil
	v.mu.Unlock()
	if s != nil {
		s.close()
	}
}

// terminal is a screen on a terminal.
type terminal struct {
	p   *mpb.Progress
	bar *mpb.Bar
}

// openTerminal draws the lines of frame at the end of the terminal w.
func openTerminal(w io.Writer, frame func(width, height int) []string) terminal {
	t := terminal{p: newTerminal(w)}
	var rest []string // the bar is the first line, its extension the others
	t.bar = t.p.MustAdd(0,
		mpb.BarFillerFunc(func(row io.Writer, _ decor.Statistics) error {
			width, height := terminalSize(w)
			lines := frame(width-1, height-1) // the cursor is on the line below
			rest = lines[1:]
			_, err := io.WriteString(row, lines[0])
			return err
		}),
		mpb.BarExtender(mpb.BarFillerFunc(func(rows io.Writer, _ decor.Statistics) error {
			for _, line := range rest {
				if _, err := io.WriteString(rows, line+"\n"); err != nil {
					return err
				}
			}
			return nil
		}), false),
		mpb.BarFillerTrim(), mpb.BarRemoveOnComplete())
	return t
}

func (t terminal) above(line string) { fmt.Fprintln(t.p, line) }

func (t terminal) close() {
	t.bar.Abort(true)
	t.p.Wait()
}

// terminalSize returns the columns and lines of a terminal; without one, 80 and 24.
func terminalSize(w io.Writer) (width, height int) {
	if f, ok := w.(*os.File); ok {
		if width, height, err := term.GetSize(int(f.Fd())); err == nil && width > 0 && height > 0 {
			return width, height
		}
	}
	return 80, 24
}
