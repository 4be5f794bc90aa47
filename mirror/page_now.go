package mirror

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Rows of the page of current work.
const (
	maxShownHosts     = 500
	maxShownTransfers = 200
)

// silence is the time without an event after which the page says so.
const silence = 2 * time.Minute

// nowView is the content of the page /now.
type nowView struct {
	Transfers []transfer
	More      int // transfers that are not shown
	Follows   bool
	Runs      []runView
}

// runView is a run as the page shows it.
type runView struct {
	Name   string // "install prod"
	Began  string
	State  string // in words
	Class  string // of the state
	Stages []cellView
	Hosts  []hostView
	More   int // hosts that are not shown
}

type hostView struct {
	Name  string
	Cells []cellView
	rank  int // failed hosts first, then those at work
}

// cellView is a cell of the table: Class is done, work, fail, or empty.
type cellView struct{ Stage, Title, Class, Text, Note string }

// current is "/now": the requests that are being answered, and the runs on clusters.
func (d *pageData) current(base string, r *http.Request) (string, []byte) {
	v := d.view(base, r)
	n := &nowView{Follows: len(d.runs) > 0}
	n.Transfers = d.transfers()
	if more := len(n.Transfers) - maxShownTransfers; more > 0 {
		n.Transfers, n.More = n.Transfers[:maxShownTransfers], more
	}
	for _, reader := range d.runs {
		err := reader.look(func(x *run) {
			if x != nil && !x.Began.IsZero() { // a copy that begins is empty
				n.Runs = append(n.Runs, x.view(v.T, d.now()))
			}
		})
		if err != nil {
			d.log.Warn("the page shows no newer state of a run", "err", err)
		}
	}
	if !wantsHTML(r) {
		return typeText, n.text(v.T)
	}
	v.Now = n
	return d.render("now", v)
}

// view returns the run for the page. The page has a row for all hosts, which shows stages
// that have no events of hosts too.
func (r *run) view(t texts, now time.Time) runView {
	v := runView{Name: strings.TrimSpace(r.Command + " " + r.Cluster), Began: r.Began.UTC().Format("2006-01-02 15:04 MST")}
	switch quiet := now.Sub(r.Last); {
	case r.Ended && r.Code == 0:
		v.State, v.Class = t["run-done"], "done"
	case r.Ended:
		v.State, v.Class = fmt.Sprintf(t["run-failed"], r.Code), "fail"
	case quiet > silence:
		v.State, v.Class = fmt.Sprintf(t["run-silent"], int(quiet.Minutes())), "fail"
	default:
		v.State, v.Class = t["run-work"], "work"
	}
	for _, s := range r.Stages {
		c := cellView{Stage: s.Name, Title: s.Title}
		switch {
		case len(s.Failed) > 0:
			c.Class, c.Text, c.Note = "fail", fmt.Sprintf("✗ %d", len(s.Failed)), t["cell-fail"]
		case s.Ended:
			c.Class, c.Text, c.Note = "done", "✓", t["cell-done"]
		case r.Ended:
			c.Text = "–"
		default:
			c.Class, c.Text, c.Note = "work", "…", t["cell-work"]
		}
		v.Stages = append(v.Stages, c)
	}
	for _, h := range r.Hosts {
		v.Hosts = append(v.Hosts, r.hostView(h, t))
	}
	slices.SortStableFunc(v.Hosts, func(a, b hostView) int { return a.rank - b.rank })
	if more := len(v.Hosts) - maxShownHosts; more > 0 {
		v.Hosts, v.More = v.Hosts[:maxShownHosts], more
	}
	return v
}

func (r *run) hostView(h *runHost, t texts) hostView {
	v := hostView{Name: h.Name, rank: 2}
	for _, s := range r.Stages {
		x := cellView{Stage: s.Name}
		c := h.cells[s.Name]
		failed := slices.Contains(s.Failed, h.Name)
		switch {
		case c == nil && !failed:
		case failed || c.Failed != "":
			x.Class, x.Text, x.Note, v.rank = "fail", "✗", t["cell-fail"], 0
			if c != nil {
				x.Note += " " + c.Failed
			}
		case s.Ended || c.ended || r.Ended:
			x.Class, x.Text, x.Note = "done", "✓", fmt.Sprintf(t["cell-steps"], c.Steps, c.Changed)
		default:
			x.Class, x.Text, x.Note, v.rank = "work", fmt.Sprint("… ", c.Steps), strings.TrimSpace(t["cell-work"]+" "+c.Now), min(v.rank, 1)
		}
		v.Cells = append(v.Cells, x)
	}
	return v
}

// text is the page for clients such as curl.
func (n *nowView) text(t texts) []byte {
	var b bytes.Buffer
	if n.Follows && len(n.Runs) == 0 {
		b.WriteString(t["noRun"] + "\n")
	}
	for _, r := range n.Runs {
		fmt.Fprintf(&b, "%s (%s): %s\n", r.Name, r.Began, r.State)
		for _, s := range r.Stages {
			fmt.Fprintf(&b, "  %-14s %-4s %s\n", s.Stage, s.Text, s.Title)
		}
		for _, h := range r.Hosts {
			fmt.Fprintf(&b, "  %s:", h.Name)
			for _, c := range h.Cells {
				if c.Text != "" {
					fmt.Fprintf(&b, " %s %s", c.Stage, c.Text)
				}
			}
			b.WriteByte('\n')
		}
	}
	if len(n.Transfers) == 0 {
		b.WriteString(t["noTransfer"] + "\n")
	}
	for _, x := range n.Transfers {
		fmt.Fprintf(&b, "%s %s %d/%d\n", x.Client, x.Path, x.Sent, x.Size)
	}
	return bytes.Map(printable, b.Bytes())
}
