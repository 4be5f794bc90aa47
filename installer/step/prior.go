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
)

// BackupDir holds copies of foreign files that are too big for the journal.
const BackupDir = "/var/lib/offk8s/backup"

// inlineMax is the size up to which a replaced file's content stands in the journal.
const inlineMax = 256 << 10

// filePrior is a file as it was before a step.
type filePrior struct {
	Existed bool   `json:"existed"`
	Content []byte `json:"content,omitempty"`
	Backup  string `json:"backup,omitempty"` // below BackupDir, instead of Content
	Mode    Mode   `json:"mode,omitempty"`
	UID     int    `json:"uid,omitempty"`
	GID     int    `json:"gid,omitempty"`
	// Made are the parent folders that were not there.
	Made []string `json:"made,omitempty"`
}

// filePrior returns what Undo of a file needs. It writes nothing: a big file is
// only given the name of its backup, see backUp.
func (e *Env) filePrior(path string, f found) (filePrior, error) {
	if !f.exists {
		p := filePrior{}
		for dir := filepath.Dir(path); !e.exists(dir); dir = filepath.Dir(dir) {
			p.Made = append([]string{dir}, p.Made...)
		}
		return p, nil
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

// backUp copies a big foreign file aside before it is replaced.
func (e *Env) backUp(path string, p filePrior) error {
	if p.Backup == "" || e.Owned || e.exists(p.Backup) {
		return nil
	}
	r, err := os.Open(e.Path(path))
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := e.put(place{path: p.Backup, mode: 0o600}, r); err != nil {
		return fmt.Errorf("back up %q: %w", path, err)
	}
	return nil
}

// restore brings path back to what raw, a filePrior, says.
func (e *Env) restore(path string, raw json.RawMessage) error {
	var p filePrior
	if err := json.Unmarshal(raw, &p); err != nil {
		return fmt.Errorf("file %q: prior state: %w", path, err)
	}
	now, err := e.look(path)
	if err != nil {
		return err
	}
	if !p.Existed {
		if now.exists {
			if err := os.Remove(e.Path(path)); err != nil {
				return err
			}
		}
		e.unmake(p.Made)
		return nil
	}
	to := place{path, p.Mode, fmt.Sprint(p.UID), fmt.Sprint(p.GID)}
	if p.Backup == "" {
		_, err := e.put(to, bytes.NewReader(p.Content))
		return err
	}
	if filepath.Dir(p.Backup) != BackupDir {
		return fmt.Errorf("file %q: backup %q is not in %s", path, p.Backup, BackupDir)
	}
	r, err := os.Open(e.Path(p.Backup))
	if err != nil {
		return fmt.Errorf("file %q: %w", path, err)
	}
	defer r.Close()
	if _, err := e.put(to, r); err != nil {
		return err
	}
	return os.Remove(e.Path(p.Backup))
}

// priorJSON marshals a prior, which holds only strings, numbers and bytes.
func priorJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

// absent reports a missing file among errors.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// priorOf is filePrior of what is at path now.
func (e *Env) priorOf(path string) (filePrior, error) {
	now, err := e.look(path)
	if err != nil {
		return filePrior{}, err
	}
	return e.filePrior(path, now)
}
