package main

import (
	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/phase"
)

func (a *app) planCommand() *cobra.Command {
	var o clusterOptions
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Print what install would do, without connecting to any host",
		Long: `Prints the plan from cluster.yaml and the mirror's bundle alone. It assumes that a host
runs the operating system given as "os:", or the first one in the bundle if there is
none. install --dry-run checks the hosts and reports what differs.`,
		Example: `  offk8s plan -f cluster.yaml --key offk8s.pub
  offk8s plan --format json > plan.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.load()
			if err != nil {
				return err
			}
			_, _, in, err := o.openMirror(cmd.Context(), c)
			if err != nil {
				return err
			}
			plan, err := installer.NewPlan(in, phase.All())
			if err != nil {
				return err
			}
			return a.result(plan, plan.WriteText)
		},
	}
	o.fileFlag(cmd)
	o.mirrorFlags(cmd)
	return cmd
}
