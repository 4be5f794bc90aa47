package main

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/manifests"
)

// becomeOptions say where the password for sudo comes from. The names are those of Ansible.
type becomeOptions struct {
	ask  bool
	file string
}

func (o *becomeOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVarP(&o.ask, "ask-become-pass", "K", false, "ask for the password of sudo on the hosts")
	f.StringVar(&o.file, "become-password-file", "", "file whose first line is the password of sudo (/dev/fd/3: a descriptor)")
	exclude(cmd, "ask-become-pass", "become-password-file")
}

// password returns the password for sudo, or nil.
func (o becomeOptions) password(a *app) (*host.Sudo, error) {
	if !o.ask && o.file == "" {
		return nil, nil
	}
	source := passphrase{flag: "become-password-file", file: o.file}
	b, err := source.read(a, "password of sudo on the hosts: ", false)
	if err == nil && len(b) == 0 {
		err = usagef("the password of sudo is empty")
	}
	if err != nil {
		return nil, err
	}
	return host.NewSudo(b), nil
}

// hostKey is a key that a host showed and no known_hosts file has.
type hostKey struct{ name, address, fingerprint string }

// logins collects the keys and passwords that are missing to log in to hosts at the same
// time, so that each question is asked once, after all logins.
type logins struct {
	a        *app
	terminal bool // to ask on
	ssh      host.SSHConfig

	mu       sync.Mutex
	unknown  []hostKey
	accepted map[hostKey]bool
}

// newLogins returns the settings for logins that are not in cluster.yaml.
func (a *app) newLogins(o clusterOptions) (*logins, error) {
	home, _ := os.UserHomeDir()
	if o.insecure {
		a.warnf("host keys are not checked; anyone on the network path can take over the hosts")
	}
	l := &logins{a: a, terminal: a.isTerminal(), ssh: host.SSHConfig{
		Home: home, AgentSocket: os.Getenv("SSH_AUTH_SOCK"), ConfigFile: o.sshConfig, InsecureHostKey: o.insecure,
		Bastions: &host.Bastions{}, Passphrases: map[string][]byte{},
	}}
	if l.terminal {
		l.ssh.Accept = l.accept
	}
	var err error
	l.ssh.Sudo, err = o.become.password(a)
	return l, err
}

// accept reports whether the user has accepted the key. If not, it notes the key.
func (l *logins) accept(name, address, fingerprint string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := hostKey{name, address, fingerprint}
	if !l.accepted[key] && !slices.Contains(l.unknown, key) {
		l.unknown = append(l.unknown, key)
	}
	return l.accepted[key]
}

// again asks for the answers without which logins failed with errs, and reports whether
// another try makes sense.
func (l *logins) again(c *manifests.Cluster, errs ...error) bool {
	if !l.terminal {
		return false
	}
	keys := l.askKeys(c)
	passphrases := l.askPassphrases(errs)
	return l.askSudo(errs) || keys || passphrases
}

// askKeys shows all unknown keys, in the order of cluster.yaml, and asks once.
func (l *logins) askKeys(c *manifests.Cluster) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.unknown) == 0 {
		return false
	}
	position := func(key hostKey) int {
		return slices.IndexFunc(c.Hosts, func(h manifests.Host) bool { return h.Name == key.name })
	}
	slices.SortStableFunc(l.unknown, func(a, b hostKey) int { return cmp.Compare(position(a), position(b)) })
	fmt.Fprintln(l.a.stderr, "no known_hosts file has the keys of:")
	for _, key := range l.unknown {
		fmt.Fprintf(l.a.stderr, "  %s (%s)  %s\n", key.name, key.address, key.fingerprint)
	}
	question := "accept this key? [y/N] "
	if n := len(l.unknown); n > 1 {
		question = fmt.Sprintf("accept these %d keys? [y/N] ", n)
	}
	yes := l.a.confirm(question, "y")
	if yes {
		if l.accepted == nil {
			l.accepted = map[hostKey]bool{}
		}
		for _, key := range l.unknown {
			l.accepted[key] = true
		}
	}
	l.unknown = nil
	return yes
}

// askPassphrases asks for those of keys that logins needed.
func (l *logins) askPassphrases(errs []error) bool {
	files := map[string]bool{}
	for _, err := range errs {
		each(err, func(e *host.LockedKeyError) {
			for _, f := range e.Files {
				files[f] = l.ssh.Passphrases[f] == nil
			}
		})
	}
	known := maps.Clone(l.ssh.Passphrases)
	asked := false
	for _, f := range slices.Sorted(maps.Keys(files)) {
		if !files[f] {
			continue
		}
		if b, err := l.a.secret("passphrase of the key " + f + ": "); err == nil && len(b) > 0 {
			known[f], asked = b, true
		}
	}
	l.ssh.Passphrases = known
	return asked
}

// askSudo asks for the password of sudo if hosts want one and none was given.
func (l *logins) askSudo(errs []error) bool {
	var hosts []string
	for _, err := range errs {
		each(err, func(e *host.SudoError) {
			if e.Err == host.ErrSudoPassword {
				hosts = append(hosts, e.Host)
			}
		})
	}
	if len(hosts) == 0 || l.ssh.Sudo != nil {
		return false
	}
	slices.Sort(hosts)
	b, err := l.a.secret("password of sudo on " + strings.Join(slices.Compact(hosts), ", ") + ": ")
	if err != nil || len(b) == 0 {
		return false
	}
	l.ssh.Sudo = host.NewSudo(b)
	return true
}

// notConnected returns the errors of hosts that were not connected.
func notConnected(f *installer.Fleet, err error) []error {
	if f == nil {
		return []error{err}
	}
	return slices.Collect(maps.Values(f.Missing()))
}

// each calls found for every T that err is or wraps.
func each[T error](err error, found func(T)) {
	if t, ok := err.(T); ok {
		found(t)
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		each(e.Unwrap(), found)
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			each(err, found)
		}
	}
}

// isTerminal reports whether questions can be asked on stdin.
func (a *app) isTerminal() bool {
	tty, ok := a.stdin.(*os.File)
	return ok && term.IsTerminal(int(tty.Fd()))
}

// secret asks for a secret on the terminal.
func (a *app) secret(prompt string) ([]byte, error) {
	if a.asked != nil {
		return a.asked(prompt)
	}
	return askSecret(a, a.stdin.(*os.File), prompt)
}
