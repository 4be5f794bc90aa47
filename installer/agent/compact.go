package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/offk8s/offk8s/bundle/durable"
)

// A journal is compacted before it is written to if it has more lines than
// compactFactor times its records, or times compactMin.
const (
	compactFactor = 4
	compactMin    = 16
)

// compact rewrites the file with one line per record and the owners of the last two
// generations. Reading it gives the same state. A crash leaves the old file.
func (j *journal) compact() error {
	var b bytes.Buffer
	lines := 0
	add := func(e entry) error {
		e.Time = time.Now().UTC()
		line, err := json.Marshal(e)
		b.Write(append(line, '\n'))
		lines++
		return err
	}
	if j.before != nil {
		if err := add(entry{Op: opOwner, Owner: j.before}); err != nil {
			return err
		}
	}
	if j.owner != nil {
		if err := add(entry{Op: opOwner, Owner: j.owner}); err != nil {
			return err
		}
	}
	for _, r := range j.records {
		if err := add(entry{Op: opRecord, Record: r}); err != nil {
			return err
		}
	}
	if err := durable.WriteFile(j.path, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	j.size, j.lines = int64(b.Len()), lines
	return nil
}
