package main

import (
	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/stage"
)

func (a *app) planCommand() *cobra.Command {
	var o clusterOptions
	var host string
	var graph, ports bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Print what install would do, without connecting to any host",
		Long: `Prints the plan from cluster.yaml and the mirror's bundle alone. It assumes that a host
runs the operating system given as "os:", or the first one in the bundle if there is
none. It refuses everything that install refuses without connecting to a host;
install --dry-run also checks the hosts and reports what differs.

A summary comes first: the hosts by their roles, the number of stages and steps. Steps of
a stage that read the same on several hosts are printed once, with HOST for the name of
each host; --host prints those of one host, all in order. --graph prints a picture
of the topology instead, as SVG, from cluster.yaml alone; --ports prints the ports that
firewalls between the hosts have to let through.

Exit status: 0 done; 2 usage or configuration; 4 the bundle is bad; 5 it is not allowed;
6 the bundle does not suit the cluster.`,
		Example: `  offk8s plan -f cluster.yaml --key offk8s.pub
  offk8s plan --host cp-1 --key offk8s.pub
  offk8s plan --graph > topology.svg
  offk8s plan --ports --key offk8s.pub
  offk8s plan --format json > plan.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.load()
			if err != nil {
				return err
			}
			if graph {
				return installer.NewGraph(c).WriteSVG(a.stdout)
			}
			if host != "" {
				if _, err := findHost(c, host); err != nil {
					return usagef("--host %q: %w", host, err)
				}
			}
			_, in, err := a.openMirror(cmd.Context(), o, c)
			if err != nil {
				return err
			}
			if _, err := installer.Judge(in); err != nil {
				return err
			}
			if ports {
				list := stage.NewPorts(in)
				return a.result(list, list.WriteText)
			}
			plan, err := installer.NewPlan(in, stage.Install())
			if err != nil {
				return err
			}
			if host != "" {
				plan = plan.Only(host)
			}
			return a.result(plan, plan.WriteText)
		},
	}
	o.fileFlag(cmd)
	o.mirrorFlags(cmd)
	cmd.Flags().StringVar(&host, "host", "", "print only the steps of this host")
	cmd.Flags().BoolVar(&graph, "graph", false, "print a picture of the topology, SVG")
	cmd.Flags().BoolVar(&ports, "ports", false, "print the ports that firewalls between hosts have to let through")
	exclude(cmd, "host", "graph", "ports")
	return cmd
}
