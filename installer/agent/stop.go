package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests/strict"
)

// StopLimit is the longest time for which ModeStop stops units. It is longer than the
// operator needs, so that the timer of the host counts only if nobody else starts them.
const StopLimit = 4 * time.Minute

const (
	// rescue is the name of the timer and the service that start the units if the agent is
	// killed.
	rescue = "offk8s-drill"
	// startLimit is the time limit for the start of the units, which may wait for others.
	startLimit = 90 * time.Second
)

var serviceName = strict.NewPattern(`^[a-z0-9][a-z0-9@._-]*\.service$`)

// stopUnits stops units of a host of the cluster. Before, it makes systemd start them
// after StopLimit: a transient timer works without this process and without the operator,
// and after a reboot the units start because they are enabled.
func (s *session) stopUnits(ctx context.Context) error {
	if err := s.checkUnits(); err != nil {
		return err
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	if err := s.sameCluster(s.journal); err != nil {
		return err
	}
	switch owner := s.journal.owner; {
	case owner == nil:
		return fmt.Errorf("%w: this host belongs to no cluster", ErrPolicy)
	case owner.Identity != s.req.Identity:
		return fmt.Errorf("%w: the cluster %q on this host has the identity %s", ErrIdentity, owner.Cluster, owner.Identity)
	case len(s.stopped) > 0:
		return fmt.Errorf("%w: %v are stopped already", ErrRequest, s.stopped)
	}
	if err := s.arm(ctx); err != nil {
		return fmt.Errorf("nothing is stopped, since nothing would start it again if the connection is lost: %w", err)
	}
	s.stopped = s.req.Units
	if err := s.systemctl(ctx, append([]string{"stop", "--"}, s.stopped...)...); err != nil {
		return errors.Join(err, s.startStopped(ctx))
	}
	return nil
}

// startUnits starts the units of the request, which this agent or an earlier one stopped.
func (s *session) startUnits(ctx context.Context) error {
	if err := s.checkUnits(); err != nil {
		return err
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	s.stopped = s.req.Units
	return s.startStopped(ctx)
}

func (s *session) checkUnits() error {
	if i := slices.IndexFunc(s.req.Units, func(u string) bool { return !serviceName.MatchString(u) }); i >= 0 {
		return fmt.Errorf("%w: unit %q", ErrRequest, s.req.Units[i])
	}
	if len(s.req.Units) == 0 {
		return fmt.Errorf("%w: no units", ErrRequest)
	}
	return nil
}

// startStopped starts what is stopped, also after the end of ctx. The timer stays until
// that has succeeded.
func (s *session) startStopped(ctx context.Context) error {
	if len(s.stopped) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startLimit)
	defer cancel()
	if err := s.systemctl(ctx, append([]string{"start", "--"}, s.stopped...)...); err != nil {
		return fmt.Errorf("%w; the host tries again within %s", err, StopLimit)
	}
	s.stopped = nil
	s.disarm(ctx)
	return nil
}

// arm makes systemd start the units of the request after StopLimit. The options are those
// of systemd 219.
func (s *session) arm(ctx context.Context) error {
	s.disarm(ctx) // one that has elapsed would be in the way
	argv := []string{
		"systemd-run", "--unit=" + rescue, "--on-active=" + strconv.Itoa(int(StopLimit.Seconds())),
		"systemctl", "start", "--",
	}
	_, err := s.env.Run.Run(ctx, step.Cmd{Argv: append(argv, s.req.Units...)})
	return err
}

// disarm removes the timer. It is no error if there is none.
func (s *session) disarm(ctx context.Context) {
	_ = s.systemctl(ctx, "stop", "--", rescue+".timer")
	_ = s.systemctl(ctx, "reset-failed", "--", rescue+".timer", rescue+".service")
}

func (s *session) systemctl(ctx context.Context, args ...string) error {
	_, err := s.env.Run.Run(ctx, step.Cmd{Argv: append([]string{"systemctl"}, args...)})
	return err
}
