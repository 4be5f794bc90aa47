package installer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/installer/agent"
)

// LockState locks the state directory of a cluster, which it creates if
// necessary, so that two installs do not take turns on the same hosts: each
// agent locks its host only while it works. If another process holds the lock
// (see durable.Lock), the error is agent.ErrLocked and names that process.
func LockState(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err = durable.Lock(filepath.Join(dir, "lock"))
	if errors.Is(err, durable.ErrLocked) {
		err = fmt.Errorf("%w: %w", agent.ErrLocked, err)
	}
	if err != nil {
		return nil, fmt.Errorf("state directory %q: %w", dir, err)
	}
	return unlock, nil
}
