package agent

import (
	"bufio"
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

// journalFile has a line of JSON per entry; it is only ever appended to.
const journalFile = StateDir + "/journal.jsonl"

// Operations of journal entries.
const (
	opOwner  = "owner"  // whose host this is; the last one counts
	opIntent = "intent" // a step is about to change something
	opDone   = "done"   // it has
	opUndone = "undone" // and it was taken back
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

// Record is what the journal knows of one step.
type Record struct {
	ID, Key string
	Item    json.RawMessage // as it was applied last
	Prior   json.RawMessage // what was there before offk8s
	Done    bool            // false: the agent died in between
}

// Journal remembers what was changed on a host and what was there before. An
// entry is on the disk before the change begins. Not safe for concurrent use.
type Journal struct {
	path    string
	records []*Record // in the order of the first intent
	owner   *facts.Installed
	file    *os.File // nil until something is written
	size    int64    // of the whole lines that were read
}

// openJournal reads the journal of the host; none is an empty one. It is never
// a link and nobody but its owner may write it, since Undo believes it.
func openJournal(env *step.Env) (*Journal, error) {
	j := &Journal{path: env.Path(journalFile)}
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
		return nil, fmt.Errorf("journal %q: others may write it (mode %s), not believed", journalFile, st.Mode())
	}
	return j, j.read(f)
}

// read takes whole lines only: the last may be cut where the power failed
// during its write, and then its change had not begun.
func (j *Journal) read(r io.Reader) error {
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

// take merges an entry into the records. The prior of a later run counts only
// where the kind adds priors up (step.Merger), which intent did before.
func (j *Journal) take(e entry) error {
	if e.Op == opOwner {
		j.owner = e.Owner
		return nil
	}
	r := j.find(e.Key)
	switch {
	case e.Op == opIntent && r == nil:
		j.records = append(j.records, &Record{ID: e.ID, Key: e.Key, Item: e.Item, Prior: e.Prior})
	case e.Op == opIntent:
		r.Item, r.Done = e.Item, false
		if len(e.Prior) > 0 {
			r.Prior = e.Prior
		}
	case r == nil:
		return fmt.Errorf("%s of %q, which was never begun", e.Op, e.ID)
	case e.Op == opDone:
		r.Done = true
		// A kind may know only afterwards what was there before.
		if len(r.Prior) == 0 {
			r.Prior = e.Prior
		}
	case e.Op == opUndone:
		j.records = slices.DeleteFunc(j.records, func(x *Record) bool { return x == r })
	default:
		return fmt.Errorf("operation %q is not known", e.Op)
	}
	return nil
}

func (j *Journal) find(key string) *Record {
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

// Owned reports whether the journal has what was there before the step.
func (j *Journal) Owned(it step.Item) bool { return j.find(keyOf(it)) != nil }

// intent is written before a step changes anything.
func (j *Journal) intent(it step.Item, prior json.RawMessage) error {
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

// merged returns the prior to write for a step that has one: nil keeps it.
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

func (j *Journal) done(it step.Item, prior json.RawMessage) error {
	if r := j.find(keyOf(it)); r != nil && len(r.Prior) > 0 {
		prior = nil
	}
	return j.write(entry{Op: opDone, ID: it.ID, Key: keyOf(it), Prior: prior})
}

func (j *Journal) undone(r *Record) error {
	return j.write(entry{Op: opUndone, ID: r.ID, Key: r.Key})
}

// own notes whose host this is, when that changed.
func (j *Journal) own(o facts.Installed) error {
	if j.owner != nil && *j.owner == o {
		return nil
	}
	return j.write(entry{Op: opOwner, Owner: &o})
}

// write appends an entry and returns once it is on the disk.
func (j *Journal) write(e entry) error {
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

// open opens the file for appending after its last whole line.
func (j *Journal) open() error {
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
func (j *Journal) close() error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
