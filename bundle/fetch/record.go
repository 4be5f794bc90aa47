package fetch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests"
)

// record maps a source to its stored content, so that another pack neither
// downloads nor compresses it again. It is a cache entry, which may be lost; the
// content is in the store under its digest.
type record struct {
	Source   digest.Digest        `json:"source"` // as pinned
	Member   string               `json:"member,omitempty"`
	Encoding string               `json:"encoding"`
	Plain    manifests.Descriptor `json:"plain"`
	Blob     manifests.Descriptor `json:"blob"`
}

// recordPath is <store>/records/<hex of the key>.json.
func (e Env) recordPath(source digest.Digest, member string) string {
	key := digest.FromString(string(source) + "\n" + member + "\n" + e.Encoding)
	return filepath.Join(e.Store.Dir(), "records", key.Encoded()+".json")
}

// recall returns the record of a's source if its content is still in the store.
func (e Env) recall(a *manifests.Artifact) (record, bool) {
	b, err := os.ReadFile(e.recordPath(a.Source.Digest, a.Source.Member))
	if err != nil {
		return record{}, false
	}
	var r record
	if json.Unmarshal(b, &r) != nil {
		return record{}, false
	}
	if r.Source != a.Source.Digest || r.Member != a.Source.Member || r.Encoding != e.Encoding {
		return record{}, false
	}
	f, err := e.Store.Open(r.Blob)
	if err != nil {
		return record{}, false
	}
	return r, f.Close() == nil
}

// remember writes a record after its content was stored. It is not synced: after a power
// loss it may be gone or no JSON, and then recall does not know it.
func (e Env) remember(r record) error {
	r.Encoding = e.Encoding
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := e.recordPath(r.Source, r.Member)
	err = os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = e.replace(path, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("remember %q: %w", r.Source, err)
	}
	return nil
}

// replace puts b into the file at path, as a whole or, if the process ends, not at all.
func (e Env) replace(path string, b []byte) error {
	f, err := e.Store.Temp()
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// removePart deletes a part file that is no longer needed.
func removePart(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
