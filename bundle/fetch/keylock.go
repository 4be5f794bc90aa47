package fetch

import "sync"

// keyLocks prevents two downloads from writing the same part file.
type keyLocks struct {
	mu    sync.Mutex
	locks map[string]*sync.Mutex
}

func newKeyLocks() *keyLocks { return &keyLocks{locks: map[string]*sync.Mutex{}} }

// lock waits for key and returns a function that releases it.
func (k *keyLocks) lock(key string) (unlock func()) {
	k.mu.Lock()
	l := k.locks[key]
	if l == nil {
		l = &sync.Mutex{}
		k.locks[key] = l
	}
	k.mu.Unlock()
	l.Lock()
	return l.Unlock
}
