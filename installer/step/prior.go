package step

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// BackupDir holds copies of replaced files that are too big for the journal.
const BackupDir = "/var/lib/offk8s/backup"

// inlineMax is the limit in bytes on a replaced file's content in the journal.
const inlineMax = 256 << 10

// filePrior is a file before a step.
type filePrior struct {
	Existed bool   `json:"existed"`
	Content []byte `json:"content,omitempty"`
	Backup  string `json:"backup,omitempty"` // below BackupDir, instead of Content
	Mode    Mode   `json:"mode,omitempty"`
	UID     int    `json:"uid,omitempty"`
	GID     int    `json:"gid,omitempty"`
	// Made are the parent directories that did not exist.
	Made []string `json:"made,omitempty"`
}

// filePrior returns the state of a file for Undo. It writes nothing: for a big file
// it only chooses the name of the backup, see backUp.
func (e *Env) filePrior(path string, f found) (filePrior, error) {
	if !f.exists {
		return filePrior{Made: e.missingParents(path)}, nil
	}
	p := filePrior{Existed: true, Mode: f.mode, UID: f.uid, GID: f.gid}
	if f.size > inlineMax {
		sum := sha256.Sum256([]byte(path))
		p.Backup = BackupDir + "/" + hex.EncodeToString(sum[:12])
		return p, nil
	}
	var err error
	p.Content, err = e.ReadFile(path)
	return p, err
}

// backUp copies a big file to BackupDir before Apply replaces it.
func (e *Env) backUp(path string, p filePrior) error {
	if p.Backup == "" || e.Owned || e.exists(p.Backup) {
		return nil
	}
	r, err := os.Open(e.Path(path))
	if err != nil {
		return err
	}
	defer r.Close()
	if err := e.write(place{path: p.Backup, mode: 0o600}, r); err != nil {
		return fmt.Errorf("back up %q: %w", path, err)
	}
	return nil
}

// restore restores path from raw, a filePrior.
func (e *Env) restore(path string, raw json.RawMessage) error {
	var p filePrior
	if err := json.Unmarshal(raw, &p); err != nil {
		return fmt.Errorf("file %q: prior state: %w", path, err)
	}
	now, err := e.stat(path)
	if err != nil {
		return err
	}
	if err := os.Remove(partial(e.Path(path))); err != nil && !absent(err) {
		return err
	}
	if !p.Existed {
		if now.exists {
			if err := os.Remove(e.Path(path)); err != nil {
				return err
			}
		}
		e.removeEmpty(p.Made)
		return nil
	}
	to := place{path, p.Mode, fmt.Sprint(p.UID), fmt.Sprint(p.GID)}
	if p.Backup == "" {
		return e.write(to, bytes.NewReader(p.Content))
	}
	if filepath.Dir(p.Backup) != BackupDir {
		return fmt.Errorf("file %q: backup %q is not in %s", path, p.Backup, BackupDir)
	}
	r, err := os.Open(e.Path(p.Backup))
	if absent(err) && now.exists {
		// An undo was interrupted after it had removed the backup, below.
		e.Log.Warn("no backup, the file was restored before", "path", path)
		return nil
	}
	if err != nil {
		return fmt.Errorf("file %q: %w", path, err)
	}
	defer r.Close()
	if err := e.write(to, r); err != nil {
		return err
	}
	return os.Remove(e.Path(p.Backup))
}

// priorJSON marshals a prior. It cannot fail: priors have only strings, numbers and
// bytes.
func priorJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

// absent reports whether err is about a missing file.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// priorOf returns the filePrior of the current file at path.
func (e *Env) priorOf(path string) (filePrior, error) {
	now, err := e.stat(path)
	if err != nil {
		return filePrior{}, err
	}
	return e.filePrior(path, now)
}

// unmarshalBoth decodes two priors of a kind.
func unmarshalBoth(first, later json.RawMessage, a, b any) error {
	if err := json.Unmarshal(first, a); err != nil {
		return fmt.Errorf("prior state: %w", err)
	}
	if err := json.Unmarshal(later, b); err != nil {
		return fmt.Errorf("prior state: %w", err)
	}
	return nil
}

// union returns a and those elements of b that a lacks.
func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, x := range b {
		if !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}
