package installer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/manifests"
)

// DefaultParallel is the default of ConnectOptions.Parallel.
const DefaultParallel = 16

// ConnectOptions configure Connect; the zero value is useful if ssh needs no agent.
type ConnectOptions struct {
	// SSH holds the settings that are not in cluster.yaml: home directory, agent
	// socket, passwords, treatment of unknown hosts. Connect sets name, address and keys.
	SSH host.SSHConfig
	// Dial, if set, replaces SSH and local execution, for tests.
	Dial func(ctx context.Context, h manifests.Host) (host.Host, error)
	// Binary returns the path of an offk8s program for an architecture ("arm64").
	// If it is nil, the running program is used, which fits only its architecture.
	Binary func(arch string) (string, error)
	// Parallel is the largest number of hosts in use at a time; 0: DefaultParallel.
	Parallel int
	// Partial allows hosts to be missing if at least one is connected. Later calls
	// for a missing host return the error of its connection.
	Partial bool
}

// Fleet is the connected hosts of a cluster. It is safe for concurrent use.
type Fleet struct {
	cluster  *manifests.Cluster
	parallel int
	binary   func(arch string) (string, error)
	programs programs
	options  ConnectOptions

	mu      sync.Mutex
	hosts   map[string]*member
	missing map[string]error
}

// member is a connected host.
type member struct {
	host.Host
	rtt  time.Duration // of a short command
	dial func(ctx context.Context) (host.Host, error)

	busy    sync.Mutex // held by the call in work; it protects what follows
	session *session   // nil before the first call
	lost    bool       // the connection is of no use any more
}

// HostError is an error on one host, in a stage if Stage is set.
type HostError struct {
	Host  string
	Stage string
	Err   error
}

func (e *HostError) Error() string {
	if e.Stage != "" {
		return fmt.Sprintf("%s: stage %q: %v", e.Host, e.Stage, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Host, e.Err)
}

func (e *HostError) Unwrap() error { return e.Err }

// Connect connects to all hosts of the cluster, installs the agent's program on them and
// starts it. The error joins a *HostError for each host that failed, in the order of
// cluster.yaml; see also o.Partial.
func Connect(ctx context.Context, c *manifests.Cluster, o ConnectOptions) (*Fleet, error) {
	f := &Fleet{cluster: c, parallel: o.Parallel, binary: o.Binary, options: o, hosts: map[string]*member{}, missing: map[string]error{}}
	if f.parallel <= 0 {
		f.parallel = DefaultParallel
	}
	if f.binary == nil {
		f.binary = runningProgram
	}
	err := f.admit(ctx, c.Hosts)
	if err != nil && (!o.Partial || len(f.hosts) == 0 || ctx.Err() != nil) {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// admit connects to hosts. It notes those that are missing; the error joins theirs.
func (f *Fleet) admit(ctx context.Context, hosts []manifests.Host) error {
	byName := map[string]manifests.Host{}
	var order []string
	for _, h := range hosts {
		byName[h.Name], order = h, append(order, h.Name)
	}
	return f.each(ctx, order, func(ctx context.Context, name string) error {
		m, err := f.connect(ctx, byName[name], f.options)
		f.mu.Lock()
		defer f.mu.Unlock()
		if err != nil {
			f.missing[name] = err
			return err
		}
		f.hosts[name] = m
		return nil
	})
}

// connect connects to one host, installs the agent's program on it and starts it.
func (f *Fleet) connect(ctx context.Context, c manifests.Host, o ConnectOptions) (*member, error) {
	m := &member{dial: func(ctx context.Context) (host.Host, error) { return Dial(ctx, c, o) }}
	h, err := m.dial(ctx)
	if err != nil {
		return nil, err
	}
	m.Host = h
	if err := f.installAgent(ctx, m); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	m.start(ctx)
	return m, nil
}

// Dial connects to a host as cluster.yaml describes, and installs nothing there.
func Dial(ctx context.Context, h manifests.Host, o ConnectOptions) (host.Host, error) {
	if o.Dial != nil {
		return o.Dial(ctx, h)
	}
	if h.Local {
		return host.NewLocal(h.Name, o.SSH.Sudo), nil
	}
	c := o.SSH
	c.Name, c.Address, c.Port, c.User, c.HostKey, c.ProxyJump = h.Name, h.SSH.Address, h.SSH.Port, h.SSH.User, h.SSH.HostKey, h.SSH.ProxyJump
	if c.Address == "" {
		c.Address = h.Address
	}
	if h.SSH.KeyFile != "" {
		c.KeyFile = expandHome(h.SSH.KeyFile, c.Home)
	}
	if h.SSH.KnownHosts != "" {
		c.KnownHosts = []string{expandHome(h.SSH.KnownHosts, c.Home)}
	}
	return host.DialSSH(ctx, c)
}

// expandHome replaces a leading ~/ by the home directory.
func expandHome(file, home string) string {
	if rest, ok := strings.CutPrefix(file, "~/"); ok && home != "" {
		return home + "/" + rest
	}
	return file
}

func runningProgram(string) (string, error) { return os.Executable() }

func names(c *manifests.Cluster) []string {
	var out []string
	for _, h := range c.Hosts {
		out = append(out, h.Name)
	}
	return out
}

// each calls fn for hosts in parallel and joins their errors, each a *HostError, in
// the order of hosts. An error on one host does not stop the others.
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
				errs[i] = &HostError{Host: name, Err: err}
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return no error
	return errors.Join(errs...)
}

// Missing returns the hosts that could not be connected, by name, with the reasons.
func (f *Fleet) Missing() map[string]error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.missing)
}

// away returns the hosts that could not be connected, as stage.Input has them.
func (f *Fleet) away() map[string]bool {
	out := map[string]bool{}
	for name := range f.Missing() {
		out[name] = true
	}
	return out
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

// Close ends the agents and closes all connections. It waits for calls in work.
func (f *Fleet) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	errs := make([]error, len(f.hosts))
	var wg sync.WaitGroup
	for i, name := range slices.Sorted(maps.Keys(f.hosts)) {
		wg.Go(func() { errs[i] = f.hosts[name].close() })
	}
	wg.Wait()
	f.hosts = map[string]*member{}
	return errors.Join(errs...)
}
