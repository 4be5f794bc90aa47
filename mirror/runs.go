package mirror

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Limits of a run on the page: a log may be damaged, or have texts of a hostile host.
const (
	maxRunHosts  = 2000
	maxRunStages = 100
	maxRunName   = 100      // bytes of the name of a host, a stage or a step
	maxRunLine   = 64 << 10 // longer lines have facts of hosts, which the page does not show
	maxRunRead   = 32 << 20 // at a time; the next look goes on
)

// run is a run of install, or of another command on a cluster, as its log tells.
type run struct {
	Command, Cluster string
	Began, Last      time.Time // of the first event and the newest one
	Stages           []*runStage
	Hosts            []*runHost // in the order of their first event
	Ended            bool
	Code             int // exit status, if it ended
	stages           map[string]*runStage
	hosts            map[string]*runHost
}

// runStage is a column of the page.
type runStage struct {
	Name, Title string
	Hosts       int
	Ended       bool
	Failed      []string
}

// runHost is a row of the page.
type runHost struct {
	Name  string
	cells map[string]*runCell // by stage
}

// runCell is the state of one host in one stage.
type runCell struct {
	Steps, Changed int
	Now            string // the step that runs
	Failed         string // the step that failed
	ended          bool
}

// runLine is a line of a log. It leaves out what the page does not show.
type runLine struct {
	Event   string    `json:"event"`
	Time    time.Time `json:"time"`
	Command string    `json:"command"`
	Cluster string    `json:"cluster"`
	Stage   string    `json:"stage"`
	Title   string    `json:"title"`
	Hosts   int       `json:"hosts"`
	Failed  []string  `json:"failed"`
	Code    int       `json:"code"`
	// Of an event of a host:
	Host  string `json:"host"`
	Type  string `json:"type"`
	ID    string `json:"id"`
	State string `json:"state"`
	Error string `json:"error"`
}

func newRun() *run { return &run{stages: map[string]*runStage{}, hosts: map[string]*runHost{}} }

// add takes a line of the log. It ignores lines that are no event.
func (r *run) add(line []byte) {
	var l runLine
	if json.Unmarshal(line, &l) != nil || l.Event == "" {
		return
	}
	if !l.Time.IsZero() {
		r.Last = l.Time
		if r.Began.IsZero() {
			r.Began = l.Time
		}
	}
	switch l.Event {
	case "run":
		r.Command, r.Cluster = runName(l.Command), runName(l.Cluster)
	case "end":
		r.Ended, r.Code = true, l.Code
	case "stage":
		if s := r.stage(l.Stage); s != nil {
			*s = runStage{Name: s.Name, Title: runName(l.Title), Hosts: l.Hosts}
		}
	case "stageEnd":
		if s := r.stage(l.Stage); s != nil {
			s.Ended = true
			for _, h := range l.Failed[:min(len(l.Failed), maxRunHosts)] {
				s.Failed = append(s.Failed, runName(h))
				r.cell(h, l.Stage)
			}
		}
	case "host":
		if c := r.cell(l.Host, l.Stage); c != nil {
			c.add(l)
		}
	}
}

// add takes an event of the host.
func (c *runCell) add(l runLine) {
	switch l.Type {
	case "start":
		c.Now = runName(l.ID)
	case "step":
		c.Now = ""
		c.Steps++
		switch l.State {
		case "changed":
			c.Changed++
		case "failed":
			c.Failed = cmp.Or(c.Failed, runName(l.ID))
		}
	case "end":
		c.Now, c.ended = "", true
		if l.Error != "" {
			c.Failed = cmp.Or(c.Failed, "?")
		}
	}
}

// stage returns the stage of that name, nil if there are too many.
func (r *run) stage(name string) *runStage {
	name = runName(name)
	if s := r.stages[name]; s != nil || name == "" || len(r.stages) >= maxRunStages {
		return s
	}
	s := &runStage{Name: name}
	r.stages[name], r.Stages = s, append(r.Stages, s)
	return s
}

// cell returns the cell of a host and a stage, nil if there are too many.
func (r *run) cell(host, stage string) *runCell {
	s, host := r.stage(stage), runName(host)
	h := r.hosts[host]
	switch {
	case s == nil || host == "" || h == nil && len(r.hosts) >= maxRunHosts:
		return nil
	case h == nil:
		h = &runHost{Name: host, cells: map[string]*runCell{}}
		r.hosts[host], r.Hosts = h, append(r.Hosts, h)
	}
	c := h.cells[s.Name]
	if c == nil {
		c = &runCell{}
		h.cells[s.Name] = c
	}
	return c
}

// runName returns a name for the page.
func runName(s string) string { return bounded(s, maxRunName) }

// bounded returns s without control characters and with at most limit bytes; an ellipsis
// takes the place of the rest.
func bounded(s string, limit int) string {
	const ellipsis = "…"
	if s = strings.ToValidUTF8(s, ""); len(s) > limit {
		for len(s) > limit-len(ellipsis) {
			_, n := utf8.DecodeLastRuneInString(s)
			s = s[:len(s)-n]
		}
		s += ellipsis
	}
	return strings.Map(printable, s)
}

// runReader follows the newest log in a directory. It reads what was added since the
// last look, when a page is asked for.
type runReader struct {
	dir    string
	mu     sync.Mutex
	file   fs.FileInfo
	offset int64
	run    *run
}

// look calls fn with the newest run, nil if there is none.
func (r *runReader) look(fn func(*run)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.read()
	fn(r.run)
	return err
}

func (r *runReader) read() error {
	name, info, err := newestLog(r.dir)
	if err != nil || name == "" {
		return err
	}
	if r.file == nil || !os.SameFile(r.file, info) || info.Size() < r.offset {
		r.run, r.offset = newRun(), 0
	}
	r.file = info
	if info.Size() == r.offset {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("log of a run: %w", err)
	}
	defer f.Close()
	n, err := r.run.read(io.NewSectionReader(f, r.offset, min(info.Size()-r.offset, maxRunRead)))
	r.offset += n
	if err != nil {
		return fmt.Errorf("log of a run: %w", err)
	}
	return nil
}

// read adds the whole lines of in, and returns how many bytes they have.
func (r *run) read(in io.Reader) (n int64, err error) {
	b := bufio.NewReaderSize(in, maxRunLine)
	for {
		line, err := b.ReadSlice('\n')
		length := int64(len(line))
		long := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			line, err = b.ReadSlice('\n')
			length += int64(len(line))
		}
		switch {
		case errors.Is(err, io.EOF) && length >= maxRunRead: // one line without an end
			return n + length, nil
		case errors.Is(err, io.EOF):
			return n, nil // the rest of the line comes later
		case err != nil:
			return n, err
		case !long:
			r.add(bytes.TrimSpace(line))
		}
		n += length
	}
}

// newestLog returns the log that was written to last, "" if there is none.
func newestLog(dir string) (name string, newest fs.FileInfo, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("logs of runs: %w", err)
	}
	for _, e := range slices.Backward(entries) { // by name, which is the time
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || filepath.Ext(e.Name()) != ".jsonl" {
			continue
		}
		if newest == nil || info.ModTime().After(newest.ModTime()) {
			name, newest = filepath.Join(dir, e.Name()), info
		}
	}
	return name, newest, nil
}
