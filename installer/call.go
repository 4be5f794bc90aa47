package installer

import (
	"context"
	"errors"
	"fmt"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/host"
)

// call sends one request to the agent of a host and passes the events of its answer to
// on, in order. The error is the agent's, which may be agent.ErrStep and the like, or says
// that there was no answer. When ctx ends, call waits until the agent has stopped: it may
// have to finish the transaction of a package manager.
//
// All calls have one agent, which the first one starts. If the connection was lost, or
// the agent has ended, the next call connects and starts it again.
func (m *member) call(ctx context.Context, req agent.Request, on func(agent.Event)) error {
	req.Protocol = agent.Protocol
	m.busy.Lock()
	defer m.busy.Unlock()
	if err := m.connected(ctx); err != nil {
		return err
	}
	if m.session == nil {
		m.session = startSession(ctx, m.Host)
	}
	err := m.session.call(ctx, req, on)
	m.settle()
	return err
}

// answers returns an error if the host was lost and cannot be connected again. It takes
// time only if the agent is silent.
func (m *member) answers(ctx context.Context) error {
	m.busy.Lock()
	defer m.busy.Unlock()
	return m.listenFor(ctx)
}

// answersIdle is answers for a host without a call in work, which would notice by itself.
func (m *member) answersIdle(ctx context.Context) error {
	if !m.busy.TryLock() {
		return nil
	}
	defer m.busy.Unlock()
	return m.listenFor(ctx)
}

func (m *member) listenFor(ctx context.Context) error {
	if m.session != nil {
		m.session.listenFor(ctx)
		m.settle()
	}
	return m.connected(ctx)
}

// connected connects again if the connection was lost.
func (m *member) connected(ctx context.Context) error {
	if !m.lost {
		return nil
	}
	_ = m.Host.Close() // what is left of it
	h, err := m.dial(ctx)
	if err != nil {
		return fmt.Errorf("agent: connect again: %w", err)
	}
	m.Host, m.lost = h, false
	return nil
}

// settle drops a session that is over.
func (m *member) settle() {
	if ended, cause := m.session.over(); ended {
		_, exited := errors.AsType[*host.ExitError](cause)
		m.session, m.lost = nil, cause != nil && !exited
	}
}

// start starts the agent of a host that was just connected, so that it is ready when the
// first call comes.
func (m *member) start(ctx context.Context) {
	m.busy.Lock()
	defer m.busy.Unlock()
	m.session = startSession(ctx, m.Host)
}

// isLost reports whether the connection was lost in the last call.
func (m *member) isLost() bool {
	m.busy.Lock()
	defer m.busy.Unlock()
	return m.lost
}

// close ends the agent and the connection.
func (m *member) close() error {
	m.busy.Lock()
	defer m.busy.Unlock()
	if m.session != nil {
		m.session.close()
		m.session = nil
	}
	return m.Host.Close()
}
