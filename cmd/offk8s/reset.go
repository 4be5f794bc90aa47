package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

func (a *app) resetCommand() *cobra.Command {
	var o clusterOptions
	var hosts []string
	var yes bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Undo install on all or some hosts",
		Long: `Restores the earlier state of every host from the host's journal: stops and removes
units and containers, unmounts, restores files, removes the data of etcd and the
kubelet. Operating system packages stay and are listed. This destroys the cluster.
If a host cannot be reached, the others are reset all the same.

Exit status: 0 done; 2 not confirmed; 3 some hosts failed, listed.`,
		Example: `  offk8s reset -f cluster.yaml
  offk8s reset --host node-3 --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.load()
			if err != nil {
				return err
			}
			if err := selectHosts(c, hosts); err != nil {
				return err
			}
			c.SetDefaults(catalog.Release{}) // reset needs only the SSH settings, nothing of a release
			if !yes {
				if err := a.confirmReset(c.Name); err != nil {
					return err
				}
			}
			unlock, err := installer.LockState(o.stateDir(c))
			if err != nil {
				return err
			}
			defer unlock()
			fleet, err := a.connect(cmd.Context(), o, c, true)
			if err != nil {
				return err
			}
			defer fleet.Close()
			report, err := installer.Reset(cmd.Context(), fleet, installer.ResetOptions{Progress: a.newRunProgress()})
			if report == nil {
				return err
			}
			return errors.Join(err, a.runResult(report, access{}))
		},
	}
	o.fileFlag(cmd)
	o.hostFlags(cmd)
	cmd.Flags().StringSliceVar(&hosts, "host", nil, "only these hosts")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// selectHosts removes all other hosts from c; an empty list keeps all.
func selectHosts(c *manifests.Cluster, hosts []string) error {
	var errs []error
	for _, name := range hosts {
		if _, err := findHost(c, name); err != nil {
			errs = append(errs, fmt.Errorf("--host %q: %w", name, err))
		}
	}
	if len(hosts) > 0 {
		c.Hosts = slices.DeleteFunc(c.Hosts, func(h manifests.Host) bool { return !slices.Contains(hosts, h.Name) })
	}
	return asUsage(errors.Join(errs...))
}

// findHost returns the host of that name. The error lists the names that there are.
func findHost(c *manifests.Cluster, name string) (manifests.Host, error) {
	var names []string
	for _, h := range c.Hosts {
		if h.Name == name {
			return h, nil
		}
		names = append(names, h.Name)
	}
	return manifests.Host{}, fmt.Errorf("the cluster %q has no such host, want one of %s", c.Name, strings.Join(names, ", "))
}

// confirmReset asks for the cluster's name. Without a terminal it fails: reset
// then needs --yes.
func (a *app) confirmReset(name string) error {
	tty, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(tty.Fd())) {
		return withHint(usagef("reset destroys the cluster %q and there is no terminal to ask on", name), "give --yes to confirm")
	}
	if !a.confirm(fmt.Sprintf("this destroys the cluster %q; type its name to continue: ", name), name) {
		return usagef("reset: not confirmed")
	}
	return nil
}
