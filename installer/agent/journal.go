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

// journalFile has one line of JSON per entry. It grows until compact rewrites it.
const journalFile = StateDir + "/journal.jsonl"

// Operations of journal entries.
const (
	opOwner  = "owner"  // the cluster and bundle of this host; the last entry counts
	opIntent = "intent" // a step is about to change something
	opDone   = "done"   // it has changed it
	opUndone = "undone" // the change was undone
	opRecord = "record" // the whole record of a step, instead of its earlier entries
)

// entry is one line of the journal.
type entry struct {
	Op     string           `json:"op"`
	Time   time.Time        `json:"time"`
	ID     string           `json:"id,omitempty"`
	Key    string           `json:"key,omitempty"` // ID and target
	Item   json.RawMessage  `json:"item,omitempty"`
	Prior  json.RawMessage  `json:"prior,omitempty"`
	Owner  *facts.Installed `json:"owner,omitempty"`
	Record *record          `json:"record,omitempty"`
	Before string           `json:"before,omitempty"` // key of the record that a new one precedes
}

// record is the journal's state of one step.
type record struct {
	ID    string          `json:"id"`
	Key   string          `json:"key"`
	Item  json.RawMessage `json:"item,omitempty"`  // as applied last
	Prior json.RawMessage `json:"prior,omitempty"` // the state before offk8s
	Done  bool            `json:"done,omitempty"`  // false if the agent died during the change
	// Generation is the one that first had Item (facts.Installed.Generation).
	Generation int `json:"generation,omitempty"`
	// Previous is the item of an earlier generation, nil if there was none.
	Previous *previous `json:"previous,omitempty"`
	// Stale reports that the step of this ID has another kind or target by now.
	Stale bool `json:"stale,omitempty"`

	step step.Step // of Item, once decoded
}

// previous is what a step was in an earlier generation.
type previous struct {
	Generation int             `json:"generation"`
	Item       json.RawMessage `json:"item"`
}

// journal records the changes on a host and the state before them. An entry is on disk
// before the change begins. Not safe for concurrent use.
type journal struct {
	path    string
	records []*record // in the order of the first intent
	owner   *facts.Installed
	before  *facts.Installed // owner of the generation before
	file    *os.File         // nil until something is written
	size    int64            // of the whole lines that were read
	lines   int              // that were read
	// The run that writes, see facts.Installed.
	started  time.Time
	operator string
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
		j.lines++
	}
}

// take merges an entry into the records. A later intent has a prior only if the kind
// merges priors (step.Merger).
func (j *journal) take(e entry) error {
	r := j.find(e.Key)
	switch {
	case e.Op == opOwner:
		if e.Owner != nil && j.owner != nil && e.Owner.Generation != j.owner.Generation {
			j.before = j.owner
		}
		j.owner = e.Owner
	case e.Op == opRecord && e.Record != nil:
		j.put(e.Record, e.Before)
	case e.Op == opIntent && r == nil:
		j.put(&record{ID: e.ID, Key: e.Key, Item: e.Item, Prior: e.Prior, Generation: j.generation()}, "")
	case e.Op == opIntent:
		next := *r
		next.Item, next.Done, next.Stale, next.step = e.Item, false, false, nil
		if len(e.Prior) > 0 {
			next.Prior = e.Prior
		}
		if g := j.generation(); !bytes.Equal(r.Item, e.Item) && g != r.Generation {
			next.Previous, next.Generation = &previous{r.Generation, r.Item}, g
		}
		j.put(&next, "")
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

// put replaces the record of r's key, or inserts r before the one of the key before, or
// appends it. Unless r is stale, the other records of its ID are: a step has one kind and
// target at a time.
func (j *journal) put(r *record, before string) {
	at := func(key string) int {
		return slices.IndexFunc(j.records, func(x *record) bool { return x.Key == key })
	}
	if i := at(r.Key); i >= 0 {
		j.records[i] = r
	} else if i := at(before); i >= 0 {
		j.records = slices.Insert(j.records, i, r)
	} else {
		j.records = append(j.records, r)
	}
	for _, x := range j.records {
		if x.ID == r.ID && x != r && !r.Stale {
			x.Stale = true
		}
	}
}

// generation returns the current generation, 0 on a host of an older offk8s.
func (j *journal) generation() int {
	if j.owner == nil {
		return 0
	}
	return j.owner.Generation
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

// intent is written before a step changes anything. A new step may have an inherited
// prior, which precedes the one that it found.
func (j *journal) intent(it step.Item, inherited, prior json.RawMessage) error {
	raw, err := json.Marshal(it)
	if err != nil {
		return err
	}
	r := j.find(keyOf(it))
	if r != nil {
		prior, err = merged(it.Step, r.Prior, prior)
	} else if len(inherited) > 0 {
		if prior, err = merged(it.Step, inherited, prior); prior == nil {
			prior = inherited
		}
	}
	if err != nil {
		return fmt.Errorf("journal: step %q: %w", it.ID, err)
	}
	if r == nil || !bytes.Equal(r.Item, raw) {
		if err := j.nextGeneration(); err != nil {
			return err
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

func (j *journal) done(it step.Item, res step.Result) error {
	r := j.find(keyOf(it))
	if res.Rest != nil && r != nil {
		next := *r
		next.Done, next.Prior = true, res.Rest
		return j.rewrite(&next)
	}
	prior := res.Prior
	if r != nil && len(r.Prior) > 0 {
		// A package manager knows only after the change all that it removed.
		whole := r.Prior
		if _, ok := it.Step.(step.Retainer); ok && len(prior) > 0 {
			var err error
			if whole, err = merged(it.Step, r.Prior, prior); err != nil {
				return fmt.Errorf("journal: step %q: %w", it.ID, err)
			}
		}
		if !bytes.Equal(whole, r.Prior) {
			next := *r
			next.Done, next.Prior = true, whole
			return j.rewrite(&next)
		}
		prior = nil
	}
	return j.write(entry{Op: opDone, ID: it.ID, Key: keyOf(it), Prior: prior})
}

// adopt records a step that found everything as it wants it, since a step of another ID
// or kind had made it so.
func (j *journal) adopt(it step.Item, inherited json.RawMessage) error {
	_, err := j.insert(it, inherited, nil)
	return err
}

// insert records a step that is done, before the record next or as the newest.
func (j *journal) insert(it step.Item, prior json.RawMessage, next *record) (*record, error) {
	raw, err := json.Marshal(it)
	if err != nil {
		return nil, err
	}
	e := entry{Op: opRecord, Record: &record{
		ID: it.ID, Key: keyOf(it), Item: raw, Prior: prior, Done: true, Generation: j.generation(),
	}}
	if next != nil {
		e.Before = next.Key
	}
	return e.Record, j.write(e)
}

// rewrite replaces a record as a whole.
func (j *journal) rewrite(r *record) error { return j.write(entry{Op: opRecord, Record: r}) }

func (j *journal) undone(r *record) error {
	return j.write(entry{Op: opUndone, ID: r.ID, Key: r.Key})
}

// setOwner records the cluster and bundle of this host as a new generation, unless
// they are what the last one has.
func (j *journal) setOwner(o facts.Installed) error {
	if j.owner != nil {
		o.Generation, o.Time, o.Operator = j.owner.Generation, j.owner.Time, j.owner.Operator
		if sameJSON(*j.owner, o) {
			return nil
		}
	}
	o.Generation, o.Time, o.Operator = j.generation(), j.started, j.operator
	if o.Generation == 0 || !j.begun() {
		o.Generation++
	}
	return j.write(entry{Op: opOwner, Owner: &o})
}

// begun reports whether this run has begun a generation.
func (j *journal) begun() bool {
	return j.owner != nil && !j.started.IsZero() && j.owner.Time.Equal(j.started)
}

// nextGeneration begins a new generation, unless this run has done so already. It is
// called before the first change of what is wanted on the host.
func (j *journal) nextGeneration() error {
	if j.owner == nil || j.begun() || j.started.IsZero() {
		return nil
	}
	o := *j.owner
	o.Generation, o.Time, o.Operator = o.Generation+1, j.started, j.operator
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

// open opens the file to append after its last complete line. It compacts a long one.
func (j *journal) open() error {
	if j.file != nil {
		return nil
	}
	if j.lines > compactFactor*max(len(j.records), compactMin) {
		if err := j.compact(); err != nil {
			return err
		}
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
