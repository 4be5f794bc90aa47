package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
)

// journalFile has one line of JSON per entry and only grows.
const journalFile = StateDir + "/journal.jsonl"

// Operations of journal entries.
const (
	opOwner  = "owner"  // the cluster and bundle of this host; the last entry counts
	opIntent = "intent" // a step is about to change something
	opDone   = "done"   // it has changed it
	opUndone = "undone" // the change was undone
)

// entry is one line of the journal.
type entry struct {
	Op    string           `json:"op"`
	Time  time.Time        `json:"time"`
	ID    string           `json:"id,omitempty"`
	Key   string           `json:"key,omitempty"` // ID and target
	Item  json.RawMessage  `json:"item,omitempty"`
	Prior json.RawMessage  `json:"prior,omitempty"`
	Owner *facts.Installed `json:"owner,omitempty"`
}

// record is the journal's state of one step.
type record struct {
	ID, Key string
	Item    json.RawMessage // as applied last
	Prior   json.RawMessage // the state before offk8s
	Done    bool            // false if the agent died during the change
}

// journal records the changes on a host and the state before them. An entry is on disk
// before the change begins. Not safe for concurrent use.
type journal struct {
	path    string
	records []*record // in the order of the first intent
	owner   *facts.Installed
	file    *os.File // nil until something is written
	size    int64    // of the whole lines that were read
}

// openJournal reads the journal of the host; a missing file is an empty journal. It
// refuses a link, and a file that others may write, since Undo trusts the journal.
func openJournal(env *step.Env) (*journal, error) {
	j := &journal{path: env.Path(journalFile)}
	f, err := os.OpenFile(j.path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !st.Mode().IsRegular() || st.Mode().Perm()&0o022 != 0 || !ok || int(sys.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("journal %q: others may write it (mode %s), not trusted", journalFile, st.Mode())
	}
	return j, j.read(f)
}

// read ignores an incomplete last line: the power failed while it was written, and its
// change had not begun.
func (j *journal) read(r io.Reader) error {
	br := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := br.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("journal %q: line %d: %w", journalFile, n, err)
		}
		if err := j.take(e); err != nil {
			return fmt.Errorf("journal %q: line %d: %w", journalFile, n, err)
		}
		j.size += int64(len(line))
	}
}

// take merges an entry into the records. A later intent has a prior only if the kind
// merges priors (step.Merger).
func (j *journal) take(e entry) error {
	if e.Op == opOwner {
		j.owner = e.Owner
		return nil
	}
	r := j.find(e.Key)
	switch {
	case e.Op == opIntent && r == nil:
		j.records = append(j.records, &record{ID: e.ID, Key: e.Key, Item: e.Item, Prior: e.Prior})
	case e.Op == opIntent:
		r.Item, r.Done = e.Item, false
		if len(e.Prior) > 0 {
			r.Prior = e.Prior
		}
	case r == nil:
		return fmt.Errorf("%s of %q, which was never begun", e.Op, e.ID)
	case e.Op == opDone:
		r.Done = true
		// A kind may know the prior state only after the change.
		if len(r.Prior) == 0 {
			r.Prior = e.Prior
		}
	case e.Op == opUndone:
		j.records = slices.DeleteFunc(j.records, func(x *record) bool { return x == r })
	default:
		return fmt.Errorf("operation %q is not known", e.Op)
	}
	return nil
}

func (j *journal) find(key string) *record {
	for _, r := range j.records {
		if r.Key == key {
			return r
		}
	}
	return nil
}

// keyOf identifies a step in the journal, by its ID, kind and target. Hosts have
// journals with these keys: their format must stay.
func keyOf(it step.Item) string {
	var t step.Target
	if s, ok := it.Step.(step.Targeter); ok {
		t = s.Target()
	}
	key := it.ID + " " + it.Step.Kind()
	for _, name := range []string{t.Path, t.Name, t.Destination, t.File} {
		key += " "
		if b, err := json.Marshal(name); err == nil && name != "" {
			key += string(b)
		}
	}
	return key
}

// owned reports whether the journal has the state before the step.
func (j *journal) owned(it step.Item) bool { return j.find(keyOf(it)) != nil }

// intent is written before a step changes anything.
func (j *journal) intent(it step.Item, prior json.RawMessage) error {
	raw, err := json.Marshal(it)
	if err != nil {
		return err
	}
	if r := j.find(keyOf(it)); r != nil {
		if prior, err = merged(it.Step, r.Prior, prior); err != nil {
			return fmt.Errorf("journal: step %q: %w", it.ID, err)
		}
	}
	return j.write(entry{Op: opIntent, ID: it.ID, Key: keyOf(it), Item: raw, Prior: prior})
}

// merged returns the prior to write for a step that has one; nil keeps it.
func merged(s step.Step, first, later json.RawMessage) (json.RawMessage, error) {
	if len(first) == 0 {
		return later, nil
	}
	m, ok := s.(step.Merger)
	if !ok || len(later) == 0 {
		return nil, nil
	}
	return m.MergePrior(first, later)
}

func (j *journal) done(it step.Item, prior json.RawMessage) error {
	if r := j.find(keyOf(it)); r != nil && len(r.Prior) > 0 {
		prior = nil
	}
	return j.write(entry{Op: opDone, ID: it.ID, Key: keyOf(it), Prior: prior})
}

func (j *journal) undone(r *record) error {
	return j.write(entry{Op: opUndone, ID: r.ID, Key: r.Key})
}

// setOwner records the cluster and bundle of this host as a new generation, unless it
// differs from the last one only in the run that applied it.
func (j *journal) setOwner(o facts.Installed) error {
	o.Generation = 1
	if j.owner != nil {
		last := *j.owner
		last.Generation, last.Time, last.Operator = o.Generation, o.Time, o.Operator
		if sameJSON(last, o) {
			return nil
		}
		o.Generation = j.owner.Generation + 1
	}
	return j.write(entry{Op: opOwner, Owner: &o})
}

// sameJSON reports whether a and b are the same after a trip through the journal.
func sameJSON(a, b any) bool {
	x, err := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err == nil && err2 == nil && bytes.Equal(x, y)
}

// write appends an entry and returns once it is on disk.
func (j *journal) write(e entry) error {
	e.Time = time.Now().UTC()
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := j.open(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return j.take(e)
}

// open opens the file to append after its last complete line.
func (j *journal) open() error {
	if j.file != nil {
		return nil
	}
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	_, seekErr := f.Seek(j.size, io.SeekStart)
	if err := errors.Join(f.Chmod(0o600), f.Truncate(j.size), seekErr); err != nil {
		return errors.Join(err, f.Close())
	}
	j.file = f
	dir, err := os.Open(filepath.Dir(j.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// close ends writing.
func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
