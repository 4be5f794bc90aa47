package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/apiproxy"
	"github.com/offk8s/offk8s/installer/approver"
	"github.com/offk8s/offk8s/installer/kube/smokeserver"
	"github.com/offk8s/offk8s/installer/step"
)

// agentCommand is started by install on a host. It reads requests from stdin and
// writes events to stdout.
func (a *app) agentCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "agent",
		Short:  "Apply steps on this host (started by install)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// The loss of the connection must not end the agent in the middle of a step.
			// Programs that it starts do not inherit a signal that is caught.
			signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE)
			// Hardened hosts have 077, with which package managers make directories that
			// daemons cannot read.
			syscall.Umask(0o022)
			if err := agent.Serve(cmd.Context(), a.stdin, a.stdout, agent.Options{}); err != nil {
				return quietError{exitError} // the last event carries the error
			}
			return nil
		},
	}
}

// approverCommand runs as offk8s-approver.service on the control planes.
func (a *app) approverCommand() *cobra.Command {
	var config string
	c := &cobra.Command{
		Use:    "approver",
		Short:  "Approve kubelets' requests for serving certificates (a service of the control planes)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Approvals are worth a line without -v.
			log := slog.New(slog.NewTextHandler(a.stderr, nil))
			return approver.Run(cmd.Context(), approver.Options{Config: config, Runner: step.Limited{Runner: step.Exec{}, Log: log}, Log: log})
		},
	}
	c.Flags().StringVar(&config, "config", "", "file with the inventory and the path of the kubeconfig")
	return c
}

// apiProxyCommand runs as offk8s-apiproxy.service on the nodes.
func (a *app) apiProxyCommand() *cobra.Command {
	var config string
	c := &cobra.Command{
		Use:    "apiproxy",
		Short:  "Forward connections to the API servers (a service of the nodes)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := apiproxy.Load(config)
			if err != nil {
				return err
			}
			p, err := apiproxy.New(c, slog.New(slog.NewTextHandler(a.stderr, nil)))
			if err != nil {
				return err
			}
			return p.Serve(cmd.Context())
		},
	}
	c.Flags().StringVar(&config, "config", "", "file with the servers and the path of the kubeconfig")
	return c
}

// smokeServerCommand runs in the pods of the smoke test.
func (a *app) smokeServerCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "smoke-server",
		Short:              "Serve and ask inside the smoke test's pods",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return smokeserver.Run(cmd.Context(), args, a.stdout)
		},
	}
}
