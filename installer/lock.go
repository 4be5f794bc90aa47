package installer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/manifests"
)

// LockState locks the state directory of a cluster, which it creates if
// necessary, so that two commands do not change it at the same time. If another process
// holds the lock (see durable.Lock), the error is agent.ErrLocked and names that process.
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

// LockOptions configure Fleet.Lock.
type LockOptions struct {
	// Operator is the "user@machine" that other operators see.
	Operator string
	// TakeOver ends the agents of another operator. Each of them first finishes the
	// transaction of a package manager that it has begun.
	TakeOver bool
	// Progress receives the events of hosts that wait for another agent to stop, as of the
	// stage "facts". It may be nil.
	Progress Progress
}

// Lock locks all connected hosts until Close, so that two operators do not take turns on
// them: of two runs that begin at the same time, one gets the first control plane and the
// other stops there. It changes nothing else. The error joins a *HostError for each host
// that is locked; it is agent.ErrLocked and names the operator.
func (f *Fleet) Lock(ctx context.Context, o LockOptions) error {
	req := agent.Request{Mode: agent.ModeLock, Cluster: f.cluster.Name, Operator: o.Operator, Started: time.Now(), TakeOver: o.TakeOver}
	if o.Progress == nil {
		o.Progress = silent{}
	}
	order := f.lockOrder()
	for _, part := range [][]string{order[:min(1, len(order))], order[min(1, len(order)):]} {
		err := f.each(ctx, part, func(ctx context.Context, name string) error {
			m, err := f.member(name)
			if err != nil {
				return err
			}
			req := req
			req.Host = name
			return m.call(ctx, req, func(e agent.Event) { o.Progress.Event("facts", name, e) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lockOrder returns the connected hosts in the order of cluster.yaml, control planes first.
func (f *Fleet) lockOrder() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var planes, others []string
	for _, h := range f.cluster.Hosts {
		if _, ok := f.hosts[h.Name]; !ok {
			continue
		}
		if h.HasRole(manifests.RoleControlPlane) {
			planes = append(planes, h.Name)
		} else {
			others = append(others, h.Name)
		}
	}
	return slices.Concat(planes, others)
}
