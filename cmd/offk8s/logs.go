package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// logsOptions are the flags of logs.
type logsOptions struct {
	cluster clusterOptions
	lines   int
	since   string
	follow  bool
}

func (a *app) logsCommand() *cobra.Command {
	var o logsOptions
	cmd := &cobra.Command{
		Use:   "logs HOST [UNIT]",
		Short: "Show the logs of a host's cluster services",
		Long: `Shows the journal of the services that offk8s runs on a host, over the connection that
install uses: etcd, kube-apiserver, kube-controller-manager, kube-scheduler,
offk8s-approver, offk8s-apiproxy, containerd, kubelet and kube-proxy, as far as the host has
them. Without UNIT it shows all of them in the order of time. It changes nothing on the host.

Exit status: 0 done; 2 usage or configuration; 1 the host cannot be reached.`,
		Example: `  offk8s logs cp-1
  offk8s logs cp-1 etcd --since "1 hour ago"
  offk8s logs node-3 kubelet --follow`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeLogs,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.logs(cmd.Context(), o, args) },
	}
	o.cluster.fileFlag(cmd)
	f := cmd.Flags()
	f.IntVarP(&o.lines, "lines", "n", 200, "number of the last lines to show")
	f.StringVar(&o.since, "since", "", "only lines since this time, as journalctl takes it")
	f.BoolVar(&o.follow, "follow", false, "show new lines as they come, until interrupted")
	o.cluster.loginFlags(cmd)
	return cmd
}

func (a *app) logs(ctx context.Context, o logsOptions, args []string) error {
	c, err := o.cluster.load()
	if err != nil {
		return err
	}
	h, err := findHost(c, args[0])
	if err != nil {
		return usagef("host %q: %w", args[0], err)
	}
	argv, err := o.journalctl(c, h, args[1:])
	if err != nil {
		return err
	}
	c.SetDefaults(catalog.Release{}) // only for the SSH settings
	h, _ = findHost(c, h.Name)
	conn, err := a.dial(ctx, o.cluster, c, h)
	if err != nil {
		return err
	}
	defer conn.Close()
	// journalctl does not read its input, whose end asks other programs to stop.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	return conn.Run(ctx, argv, nil, a.stdout, a.stderr)
}

// journalctl returns the command for the units of h, or for one of them.
func (o logsOptions) journalctl(c *manifests.Cluster, h manifests.Host, unit []string) ([]string, error) {
	units := stage.Units(c, h)
	if len(unit) == 1 {
		name := strings.TrimSuffix(unit[0], ".service")
		if !slices.Contains(units, name) {
			err := usagef("unit %q: host %q has no such unit of offk8s, want one of %s", unit[0], h.Name, strings.Join(units, ", "))
			return nil, withHint(err, "%s", nearestOf(name, units))
		}
		units = []string{name}
	}
	if o.lines < 1 {
		return nil, usagef("--lines %d: want at least 1", o.lines)
	}
	argv := []string{"journalctl", "--no-pager", "--lines", strconv.Itoa(o.lines)}
	if o.since != "" {
		argv = append(argv, "--since", o.since)
	}
	if o.follow {
		argv = append(argv, "--follow")
	}
	for _, u := range units {
		argv = append(argv, "--unit", u+".service")
	}
	return argv, nil
}

// dial connects to one host. On a terminal it asks for a missing password, for example.
func (a *app) dial(ctx context.Context, o clusterOptions, c *manifests.Cluster, h manifests.Host) (host.Host, error) {
	logins, err := a.newLogins(o)
	if err != nil {
		return nil, err
	}
	for {
		conn, err := installer.Dial(ctx, h, installer.ConnectOptions{SSH: logins.ssh})
		if err == nil {
			if err = conn.Run(ctx, []string{"true"}, nil, io.Discard, io.Discard); err == nil { // sudo may want a password
				return conn, nil
			}
			_ = conn.Close()
		}
		if !logins.again(c, err) {
			return nil, fmt.Errorf("host %s: %w", h.Name, err)
		}
	}
}
