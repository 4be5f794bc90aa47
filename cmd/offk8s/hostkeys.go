package main

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"

	"golang.org/x/term"

	"github.com/offk8s/offk8s/manifests"
)

// hostKey is a key that a host showed and no known_hosts file has.
type hostKey struct{ address, fingerprint string }

// hostKeys collects the unknown keys of hosts that are connected to at the same time,
// so that the questions about them come one by one, and not while a login waits.
type hostKeys struct {
	mu       sync.Mutex
	unknown  []hostKey
	accepted map[hostKey]bool
}

// accept reports whether the user has accepted the key. If not, it notes the key.
func (k *hostKeys) accept(address, fingerprint string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := hostKey{address, fingerprint}
	if !k.accepted[key] {
		k.unknown = append(k.unknown, key)
	}
	return k.accepted[key]
}

// ask asks about the unknown keys, in the order of cluster.yaml, and reports whether
// any was accepted.
func (k *hostKeys) ask(c *manifests.Cluster, confirm func(question string) bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	position := func(key hostKey) int { return slices.IndexFunc(c.Hosts, key.of) }
	slices.SortStableFunc(k.unknown, func(a, b hostKey) int { return cmp.Compare(position(a), position(b)) })
	for i, key := range k.unknown {
		name := key.address
		if p := position(key); p >= 0 {
			name = c.Hosts[p].Name + " (" + key.address + ")"
		}
		if !confirm(fmt.Sprintf("%d of %d: host %s has the key %s, which no known_hosts file knows; accept it? [y/N] ",
			i+1, len(k.unknown), name, key.fingerprint)) {
			continue
		}
		if k.accepted == nil {
			k.accepted = map[hostKey]bool{}
		}
		k.accepted[key] = true
	}
	k.unknown = nil
	return len(k.accepted) > 0
}

// of reports whether the key was shown at the address of h.
func (k hostKey) of(h manifests.Host) bool {
	return k.address == net.JoinHostPort(cmp.Or(h.SSH.Address, h.Address), fmt.Sprint(cmp.Or(h.SSH.Port, 22)))
}

// isTerminal reports whether questions can be asked on stdin.
func (a *app) isTerminal() bool {
	tty, ok := a.stdin.(*os.File)
	return ok && term.IsTerminal(int(tty.Fd()))
}
