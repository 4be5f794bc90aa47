package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/trust"
)

// keyMemory is the directory with the histories of keys that this user, or this mirror,
// has seen; empty means that of the user.
type keyMemory string

func (m keyMemory) path() string { return filepath.Join(cmp.Or(string(m), stateDir()), "keys.json") }

// load returns the histories that remember has kept.
func (m keyMemory) load() ([]trust.History, error) {
	b, err := reader.ReadFile(m.path(), maxPublicKeys)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := trust.DecodeHistories(b)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", m.path(), err)
	}
	return list, nil
}

// remember keeps the histories of keys that a verified bundle has brought, as
// encodeHistories returns them. It only warns if it fails: the bundle is good.
func (a *app) remember(m keyMemory, histories string) {
	if kept, err := os.ReadFile(m.path()); histories == "" || err == nil && string(kept) == histories {
		return
	}
	err := os.MkdirAll(filepath.Dir(m.path()), 0o700)
	if err == nil {
		err = durable.WriteFile(m.path(), []byte(histories), 0o600)
	}
	if err != nil {
		a.warnf("a revoked key may be accepted again, since its revocation cannot be kept: %v", err)
	}
}

// encodeHistories returns the text of trust.EncodeHistories, "" for none.
func encodeHistories(list []trust.History) (string, error) {
	if len(list) == 0 {
		return "", nil
	}
	b, err := trust.EncodeHistories(list)
	return string(b), err
}
