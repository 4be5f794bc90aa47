package installer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/manifests"
)

// DefaultParallel is how many hosts are worked on at a time.
const DefaultParallel = 16

// ConnectOptions say how the hosts are reached.
type ConnectOptions struct {
	// SSH has what cluster.yaml does not say: home folder, agent socket, what to
	// do about unknown hosts. Name, address and key fields are filled in per host.
	SSH host.SSHConfig
	// Dial replaces Local and SSH, for tests.
	Dial func(ctx context.Context, h manifests.Host) (host.Host, error)
	// Binary returns the path of an offk8s program for an architecture ("arm64");
	// nil means the running one, which is right for its own architecture.
	Binary func(arch string) (string, error)
	// Parallel bounds how many hosts are worked on at a time; 0: DefaultParallel.
	Parallel int
	// Partial lets hosts be missing while at least one is reached: what is then
	// done on a missing one fails with what kept it from being reached.
	Partial bool
}

// Fleet are the connected hosts of a cluster. Safe for concurrent use.
type Fleet struct {
	cluster  *manifests.Cluster
	parallel int
	binary   func(arch string) (string, error)
	programs programs

	mu      sync.Mutex
	hosts   map[string]*member
	missing map[string]error
}

// member is a host with what was learned of it on the way.
type member struct {
	host.Host
	trip time.Duration // of a small program call
}

// HostError is what went wrong on one host.
type HostError struct {
	Host string
	Err  error
}

// Error names the host.
func (e *HostError) Error() string { return fmt.Sprintf("%s: %v", e.Host, e.Err) }

// Unwrap returns the cause.
func (e *HostError) Unwrap() error { return e.Err }

// Connect reaches all hosts, or with o.Partial those that can be reached, and
// puts the agent's program in place. What fails is told for all hosts together,
// as *HostError in the order of cluster.yaml.
func Connect(ctx context.Context, c *manifests.Cluster, o ConnectOptions) (*Fleet, error) {
	f := &Fleet{cluster: c, parallel: o.Parallel, binary: o.Binary, hosts: map[string]*member{}, missing: map[string]error{}}
	if f.parallel <= 0 {
		f.parallel = DefaultParallel
	}
	if f.binary == nil {
		f.binary = ownBinary
	}
	dial := o.Dial
	if dial == nil {
		dial = o.dial
	}
	err := f.each(ctx, names(c), func(ctx context.Context, name string) error {
		i := slices.IndexFunc(c.Hosts, func(h manifests.Host) bool { return h.Name == name })
		m, err := f.reach(ctx, c.Hosts[i], dial)
		f.mu.Lock()
		defer f.mu.Unlock()
		if err != nil {
			f.missing[name] = err
			return err
		}
		f.hosts[name] = m
		return nil
	})
	if err != nil && (!o.Partial || len(f.hosts) == 0 || ctx.Err() != nil) {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// reach connects one host and puts the agent's program in place.
func (f *Fleet) reach(ctx context.Context, c manifests.Host, dial func(context.Context, manifests.Host) (host.Host, error)) (*member, error) {
	h, err := dial(ctx, c)
	if err != nil {
		return nil, err
	}
	m := &member{Host: h}
	if err := f.equip(ctx, m); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return m, nil
}

// dial reaches a host as cluster.yaml says.
func (o ConnectOptions) dial(ctx context.Context, h manifests.Host) (host.Host, error) {
	if h.Local {
		return host.NewLocal(h.Name), nil
	}
	c := o.SSH
	c.Name, c.Address, c.Port, c.User, c.HostKey = h.Name, h.SSH.Address, h.SSH.Port, h.SSH.User, h.SSH.HostKey
	if c.Address == "" {
		c.Address = h.Address
	}
	if h.SSH.KeyFile != "" {
		c.KeyFile = expand(h.SSH.KeyFile, c.Home)
	}
	if h.SSH.KnownHosts != "" {
		c.KnownHosts = []string{expand(h.SSH.KnownHosts, c.Home)}
	}
	return host.DialSSH(ctx, c)
}

// expand replaces a leading ~/ by the home folder.
func expand(file, home string) string {
	if rest, ok := strings.CutPrefix(file, "~/"); ok && home != "" {
		return home + "/" + rest
	}
	return file
}

func ownBinary(string) (string, error) { return os.Executable() }

func names(c *manifests.Cluster) []string {
	var out []string
	for _, h := range c.Hosts {
		out = append(out, h.Name)
	}
	return out
}

// each does fn for hosts in parallel and joins their errors in order; one
// host's error does not stop the others.
func (f *Fleet) each(ctx context.Context, hosts []string, fn func(ctx context.Context, name string) error) error {
	errs := make([]error, len(hosts))
	var g errgroup.Group
	g.SetLimit(f.parallel)
	for i, name := range hosts {
		g.Go(func() error {
			err := context.Cause(ctx)
			if err == nil {
				err = fn(ctx, name)
			}
			if err != nil {
				errs[i] = &HostError{name, err}
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return no error
	return errors.Join(errs...)
}

func (f *Fleet) member(name string) (*member, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m, ok := f.hosts[name]; ok {
		return m, nil
	}
	if err := f.missing[name]; err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("host %q: not connected", name)
}

// Close ends all connections.
func (f *Fleet) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, m := range f.hosts {
		errs = append(errs, m.Close())
	}
	f.hosts = map[string]*member{}
	return errors.Join(errs...)
}
