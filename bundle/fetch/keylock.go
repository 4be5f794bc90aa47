package fetch

import "sync"

// keyLocks keeps two downloads from writing one part file.
type keyLocks struct {
	mu    sync.Mutex
	locks map[string]*sync.Mutex
}

func newKeyLocks() *keyLocks { return &keyLocks{locks: map[string]*sync.Mutex{}} }

// lock waits for key and returns what gives it back.
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
