package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/installer/phase"
	"github.com/offk8s/offk8s/manifests"
)

// clusterOptions are the flags of every command over the hosts of a cluster.
type clusterOptions struct {
	file     string
	keys     []string
	mirror   string
	state    string
	self     []string
	parallel int
	insecure bool
}

func (o *clusterOptions) fileFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.file, "file", "f", "cluster.yaml", "the cluster (see offk8s init cluster)")
}

// mirrorFlags are those of commands that read the mirror's bundle.
func (o *clusterOptions) mirrorFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.keys, "key", nil, "public key that the bundle must be signed with (default $XDG_CONFIG_HOME/offk8s/offk8s.pub)")
	f.StringVar(&o.mirror, "mirror", "", "URL of the mirror (default: the one in the file)")
}

// hostFlags are those of commands that reach the hosts.
func (o *clusterOptions) hostFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.state, "state", "", "folder with the cluster's CAs and keys (default $XDG_STATE_HOME/offk8s/clusters/NAME)")
	f.StringArrayVar(&o.self, "self", nil, "ARCH=FILE: the offk8s binary for hosts of another architecture")
	f.IntVar(&o.parallel, "parallel", installer.DefaultParallel, "hosts worked on at a time")
	f.BoolVar(&o.insecure, "ssh-insecure-host-key", false, "accept any host key (laboratories only)")
}

// load reads cluster.yaml; the mirror's address may come from the flag.
func (o clusterOptions) load() (*manifests.Cluster, error) {
	b, err := os.ReadFile(o.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, withHint(usagef("no %q here", o.file), "offk8s init cluster writes a commented one; or name yours with -f")
	}
	if err != nil {
		return nil, usageError{err}
	}
	c, err := manifests.LoadCluster(o.file, b)
	if err != nil {
		return nil, err
	}
	if o.mirror != "" {
		c.Mirror.URL = strings.TrimSuffix(o.mirror, "/")
	}
	return c, nil
}

// stateDir is where the operator keeps the secrets of the cluster.
func (o clusterOptions) stateDir(c *manifests.Cluster) string {
	return cmp.Or(o.state, filepath.Join(stateDir(), "clusters", c.Name))
}

// openMirror verifies the bundle that the mirror serves and puts it into the Input of a plan.
func (o clusterOptions) openMirror(ctx context.Context, c *manifests.Cluster) (*installer.Mirror, string, phase.Input, error) {
	in := phase.Input{Cluster: c}
	if c.Mirror.URL == "" {
		return nil, "", in, withHint(usagef("%q names no mirror", o.file), "set mirror.url, or give --mirror URL")
	}
	keys, err := trustOptions{keys: o.keys}.publicKeys()
	if err != nil {
		return nil, "", in, err
	}
	if len(keys) == 0 {
		return nil, "", in, fmt.Errorf("install: %w", trust.ErrNoKey)
	}
	var pem strings.Builder
	for _, k := range keys {
		pem.Write(k.PEM())
	}
	m, err := installer.OpenMirror(ctx, c.Mirror, pem.String(), "")
	if as[*tls.CertificateVerificationError](err) {
		err = withHint(err, "write the fingerprint that offk8s serve prints into %s as mirror.caFingerprint", o.file)
	} else if as[*net.OpError](err) {
		err = withHint(err, "does offk8s serve run there, and does no firewall stand between?")
	}
	if err != nil {
		return nil, "", in, err
	}
	if err := checkVersion(c, m.Lock); err != nil {
		return nil, "", in, err
	}
	c.SetDefaults(m.Lock.Release)
	in.Lock, in.Root, in.MirrorCA, in.OpenPGPKey = m.Lock, m.Root, []byte(m.Agent.CAPEM), m.OpenPGPKey
	return m, pem.String(), in, nil
}

// checkVersion checks that cluster.yaml and the bundle mean the same Kubernetes.
func checkVersion(c *manifests.Cluster, lock *manifests.Lock) error {
	if want := strings.TrimPrefix(c.Kubernetes, "v"); want != "" && want != lock.Kubernetes && want != lock.Minor {
		return usagef("cluster.yaml wants Kubernetes %s, the mirror's bundle %q has %s", want, lock.Name, lock.Kubernetes)
	}
	return nil
}

// connect reaches every host, or with partial those that can be reached.
func (a *app) connect(ctx context.Context, o clusterOptions, c *manifests.Cluster, partial bool) (*installer.Fleet, error) {
	home, _ := os.UserHomeDir()
	self, err := selfBinaries(o.self)
	if err != nil {
		return nil, err
	}
	if o.insecure {
		a.warnf("host keys are not checked; anybody in between can take over the hosts")
	}
	return installer.Connect(ctx, c, installer.ConnectOptions{
		SSH: host.SSHConfig{
			Home: home, AgentSocket: os.Getenv("SSH_AUTH_SOCK"), InsecureHostKey: o.insecure, Accept: a.acceptHost(),
		},
		Binary: func(arch string) (string, error) {
			if f, ok := self[arch]; ok {
				return f, nil
			}
			return "", withHint(usagef("no offk8s binary for %s", arch), "give --self %s=FILE; the mirror has it under /files/offk8s/", arch)
		},
		Parallel: o.parallel, Partial: partial,
	})
}

// acceptHost asks on a terminal about a host that known_hosts does not know;
// without a terminal nobody is asked and the answer is no.
func (a *app) acceptHost() func(address, fingerprint string) bool {
	tty, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(tty.Fd())) {
		return nil
	}
	return func(address, fingerprint string) bool {
		return a.confirm(fmt.Sprintf("host %s has the key %s, which no known_hosts file knows; accept it? [y/N] ", address, fingerprint), "y")
	}
}

// confirm asks on the terminal; anything but want is a no.
func (a *app) confirm(question, want string) bool {
	fmt.Fprint(a.stderr, question)
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	return err == nil && strings.EqualFold(strings.TrimSpace(line), want)
}
