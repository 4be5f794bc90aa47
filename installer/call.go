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
	if m.lost {
		_ = m.Host.Close() // what is left of it
		h, err := m.dial(ctx)
		if err != nil {
			return fmt.Errorf("agent: connect again: %w", err)
		}
		m.Host, m.lost = h, false
	}
	if m.session == nil {
		m.session = startSession(ctx, m.Host)
	}
	err := m.session.call(ctx, req, on)
	if ended, cause := m.session.over(); ended {
		_, exited := errors.AsType[*host.ExitError](cause)
		m.session, m.lost = nil, cause != nil && !exited
	}
	return err
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
