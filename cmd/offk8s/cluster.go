package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

// clusterOptions are the flags of the commands that work on a cluster.
type clusterOptions struct {
	file     string
	keys     []string
	mirrors  []string
	state    string
	self     []string
	parallel int
	insecure bool
	// sshConfig replaces ~/.ssh/config.
	sshConfig string
	become    becomeOptions
}

func (o *clusterOptions) fileFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.file, "file", "f", "cluster.yaml", "the cluster (see offk8s init cluster)")
}

// mirrorFlags adds the flags of commands that read the mirror's bundle.
func (o *clusterOptions) mirrorFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.keys, "key", nil, "public key that must have signed the bundle (default $XDG_CONFIG_HOME/offk8s/offk8s.pub)")
	f.StringSliceVar(&o.mirrors, "mirror", nil, "URL of the mirror, or of several with the same bundle (default: those in the file)")
}

func (o *clusterOptions) stateFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.state, "state", "", "directory of the cluster's CAs and keys (default $XDG_STATE_HOME/offk8s/clusters/NAME)")
}

// hostFlags adds the flags of commands that change hosts.
func (o *clusterOptions) hostFlags(cmd *cobra.Command) {
	o.stateFlag(cmd)
	o.connectFlags(cmd)
}

// connectFlags adds the flags of commands that connect to the hosts.
func (o *clusterOptions) connectFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.self, "self", nil, "ARCH=FILE: the offk8s binary for hosts of another architecture")
	f.IntVar(&o.parallel, "parallel", installer.DefaultParallel, "number of hosts to work on at a time")
	o.loginFlags(cmd)
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if o.parallel < 1 {
			return usagef("--parallel %d: want 1 or more", o.parallel)
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

// loginFlags adds the flags of commands that log in to hosts.
func (o *clusterOptions) loginFlags(cmd *cobra.Command) {
	o.become.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.sshConfig, "ssh-config", "", "file like ssh_config(5), or none (default ~/.ssh/config)")
	f.BoolVar(&o.insecure, "ssh-insecure-host-key", false, "accept any host key (laboratories only)")
}

// load reads cluster.yaml; --mirror overrides its mirrors.
func (o clusterOptions) load() (*manifests.Cluster, error) {
	_, c, err := o.read()
	return c, err
}

// read returns the content of cluster.yaml too.
func (o clusterOptions) read() ([]byte, *manifests.Cluster, error) {
	b, err := readInput(o.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, withHint(usagef("no %q here", o.file), "offk8s init cluster writes a commented one; or name yours with -f")
	}
	if err != nil {
		return nil, nil, usageError{err}
	}
	c, err := manifests.LoadCluster(o.file, b)
	if err != nil || len(o.mirrors) == 0 {
		return b, c, withHint(err, "%s", hintForKind(err, manifests.KindManifest, "this is a pack.yaml: offk8s pack -f takes it", "offk8s init cluster writes a commented example"))
	}
	c.Mirror.URL, c.Mirror.URLs = "", o.mirrors
	if len(o.mirrors) == 1 {
		c.Mirror.URL, c.Mirror.URLs = o.mirrors[0], nil
	}
	for _, p := range c.Validate() { // only the URLs are new
		err = errors.Join(err, fmt.Errorf("--mirror %q: %s: %s", strings.Join(o.mirrors, ","), p.Path, p.Message))
	}
	return b, c, asUsage(err)
}

// hintForKind returns hint if err is that of a document of this kind; else one that ends with
// example.
func hintForKind(err error, kind, hint, example string) string {
	e, ok := errors.AsType[*strict.Error](err)
	switch {
	case ok && e.Kind == kind:
		return hint
	case ok && e.Problems[0].Line == 0: // of the file, not of a line
		return "name another file with -f; " + example
	}
	return "fix the lines above; " + example
}

// openMirror verifies the bundle that the mirror serves. It returns the mirror and the
// input of a plan.
func (a *app) openMirror(ctx context.Context, o clusterOptions, c *manifests.Cluster) (*installer.Mirror, stage.Input, error) {
	in := stage.Input{Cluster: c}
	switch {
	case len(c.Mirror.Addresses()) == 0:
		return nil, in, withHint(usagef("%q names no mirror", o.file), "set mirror.url or mirror.urls, or give --mirror URL")
	case c.Mirror.IsExample():
		return nil, in, withHint(usagef("%s: mirror: found the example of offk8s init cluster, want yours", o.file),
			"write the address of offk8s serve and the fingerprint that it prints")
	}
	memory := keyMemory("")
	histories, err := memory.load()
	if err != nil {
		return nil, in, err
	}
	keys, err := trustOptions{keys: o.keys}.publicKeys()
	if err != nil {
		return nil, in, err
	}
	if len(keys) == 0 {
		return nil, in, explainOpen(fmt.Errorf("bundle on the mirror: %w", trust.ErrNoKey))
	}
	var pem strings.Builder
	for _, k := range keys {
		pem.Write(k.PEM())
	}
	b := agent.Bundle{PublicKeys: pem.String()}
	if b.Histories, err = encodeHistories(histories); err != nil {
		return nil, in, err
	}
	m, err := installer.OpenMirror(ctx, c.Mirror, b)
	if as[*tls.CertificateVerificationError](err) {
		err = withHint(err, "write the fingerprint that offk8s serve prints into %s as mirror.caFingerprint", o.file)
	} else if as[*net.OpError](err) {
		err = withHint(err, "check that offk8s serve runs there and that no firewall blocks it")
	}
	if err != nil {
		return nil, in, err
	}
	a.remember(memory, m.Histories)
	for _, err := range m.Away {
		a.warnf("a mirror does not answer, the hosts use the others: %v", err)
	}
	if err := o.checkVersion(c, m.Lock); err != nil {
		return nil, in, err
	}
	if err := o.checkNetwork(c, m.Lock); err != nil {
		return nil, in, err
	}
	return m, inputOf(c, m), nil
}

// checkNetwork returns an error with lines of the file if the bundle does not have the
// network that it asks for.
func (o clusterOptions) checkNetwork(c *manifests.Cluster, lock *manifests.Lock) error {
	problems := c.CheckNetwork(lock)
	if len(problems) == 0 {
		return nil
	}
	data, err := readInput(o.file)
	if err != nil {
		return usageError{err}
	}
	return withHint(manifests.ClusterError(o.file, data, problems), "the bundle %q has the pod network %s for Kubernetes %s", lock.Name, lock.CNI, lock.Kubernetes)
}

// inputOf returns the input of a plan of c with the bundle of m. It sets the defaults of c.
func inputOf(c *manifests.Cluster, m *installer.Mirror) stage.Input {
	c.SetDefaults(m.Lock.Release)
	return stage.Input{Cluster: c, Lock: m.Lock, Root: m.Root, MirrorCA: []byte(m.Agent.CAPEM), OpenPGPKey: m.OpenPGPKey}
}

// checkVersion returns an error if the file asks for another Kubernetes than the bundle has.
func (o clusterOptions) checkVersion(c *manifests.Cluster, lock *manifests.Lock) error {
	if want := strings.TrimPrefix(c.Kubernetes, "v"); want != "" && want != lock.Kubernetes && want != lock.Minor {
		return withHint(usagef("%s wants Kubernetes %s, the mirror's bundle %q has %s", o.file, want, lock.Name, lock.Kubernetes),
			"serve a bundle of that version, or correct kubernetes: in the file")
	}
	return nil
}

// connect connects to all hosts. If partial is set, it leaves out those that it cannot
// reach. On a terminal it asks for a missing password, for example, and connects again.
func (a *app) connect(ctx context.Context, o clusterOptions, c *manifests.Cluster, partial bool, run *clusterRun) (*installer.Fleet, error) {
	logins, err := a.newLogins(o)
	if err != nil {
		return nil, err
	}
	co, err := a.connectOptions(o)
	if err != nil {
		return nil, err
	}
	co.Partial = partial
	for {
		var fleet *installer.Fleet
		co.SSH = logins.ssh
		err := run.stage("connect", len(c.Hosts), func() (err error) {
			fleet, err = installer.Connect(ctx, c, co)
			return err
		})
		if !logins.again(c, notConnected(fleet, err)...) {
			return fleet, err
		}
		if fleet != nil {
			_ = fleet.Close() // only to connect again
		}
	}
}

// connectOptions returns the settings for hosts that are neither in cluster.yaml nor for
// logins.
func (a *app) connectOptions(o clusterOptions) (installer.ConnectOptions, error) {
	self, err := selfBinaries(o.self)
	if err != nil {
		return installer.ConnectOptions{}, err
	}
	return installer.ConnectOptions{
		Parallel: o.parallel,
		Binary: func(arch string) (string, error) {
			if f, ok := self[arch]; ok {
				return f, nil
			}
			return "", withHint(usagef("no offk8s binary for %s", arch), "give --self %s=FILE; the mirror has it under /files/offk8s/", arch)
		},
	}, nil
}

// confirm asks a question and reports whether the answer is want.
func (a *app) confirm(question, want string) bool {
	fmt.Fprint(a.stderr, question)
	if a.answers == nil { // one for all questions: it reads ahead
		a.answers = bufio.NewReader(a.stdin)
	}
	line, err := a.answers.ReadString('\n')
	return err == nil && strings.EqualFold(strings.TrimSpace(line), want)
}
