package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
)

// The time for which tickets are valid.
const (
	ticketLife    = 24 * time.Hour
	maxTicketLife = 7 * 24 * time.Hour
)

// ticketOptions are the flags of ticket.
type ticketOptions struct {
	cluster clusterOptions
	pass    passphrase
	hosts   []string
	output  string // directory
	life    time.Duration
	fresh   bool
}

func (a *app) ticketCommand() *cobra.Command {
	var o ticketOptions
	cmd := &cobra.Command{
		Use:   "ticket",
		Short: "Write a sealed file per host, to install without SSH",
		Long: `Writes for each host a file DIR/HOST.ticket (mode 0600), encrypted with a passphrase,
which brings everything that the host needs: cluster.yaml, the identity of the bundle,
and the certificates and keys of this host alone. Take each file to its host and run
there, as root and on all hosts in any order:

  offk8s install --local --ticket HOST.ticket

The hosts wait for each other. The first control plane in the file sets up what one host
does for all: access rules, pod network, cluster DNS and the smoke test.

The command connects to the mirror and to no host. If the directory --state has no CAs and
keys of the cluster yet, it makes them. Since it cannot ask the hosts whether they belong
to a cluster already, a host that does refuses its ticket. Afterwards offk8s install over
SSH, with the same state, goes on with the cluster.

A ticket has secrets in it. Delete the files when the hosts are done; after the time of
--valid, by the clock of the host, a ticket is refused.

Exit status: 0 done; 2 usage or configuration; 4 the bundle is bad; 5 it is not allowed;
6 the bundle does not suit the cluster; 11 an install uses the state.`,
		Example: `  offk8s ticket -f cluster.yaml --key offk8s.pub -o tickets
  offk8s ticket --host node-3 --key offk8s.pub --passphrase-file pass.txt --valid 4h`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.ticket(cmd.Context(), o) },
	}
	o.cluster.fileFlag(cmd)
	o.cluster.mirrorFlags(cmd)
	o.cluster.stateFlag(cmd)
	o.pass.flags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&o.hosts, "host", nil, "only for these hosts")
	f.StringVarP(&o.output, "output", "o", "tickets", "directory to write to")
	f.DurationVar(&o.life, "valid", ticketLife, "time for which the tickets are valid")
	freshFlag(cmd, &o.fresh)
	return cmd
}

func (a *app) ticket(ctx context.Context, o ticketOptions) error {
	if o.life < time.Minute || o.life > maxTicketLife {
		return usagef("--valid %s: want at least 1m and at most %s", o.life, maxTicketLife)
	}
	file, c, err := o.cluster.read()
	if err != nil {
		return err
	}
	hosts, err := someHosts(c, o.hosts)
	if err != nil {
		return err
	}
	m, in, err := a.openMirror(ctx, o.cluster, c)
	if err != nil {
		return err
	}
	if err := a.checkAge(in.Lock, o.fresh); err != nil {
		return err
	}
	if _, err := installer.Judge(in); err != nil {
		return err
	}
	pass, err := o.pass.read(a, fmt.Sprintf("passphrase for the tickets of %q: ", c.Name), true)
	if err != nil {
		return err
	}
	if len(pass) == 0 {
		return usagef("the passphrase is empty")
	}
	state, unlock, err := a.ticketState(o.cluster, &in)
	if err != nil {
		return err
	}
	defer unlock()
	plan, err := installer.NewPlan(in, stage.Install())
	if err != nil {
		return err
	}
	state.credentials.ReuseToken(o.life)
	now := time.Now().UTC().Truncate(time.Second)
	var list []installer.Ticket
	for _, h := range hosts {
		t := installer.Ticket{
			TicketHeader: installer.TicketHeader{Cluster: c.Name, Host: h.Name, Address: h.Address, Made: now, Expires: now.Add(o.life)},
			File:         file, Identity: state.identity, Bundle: m.Bundle, Mirror: m.Agent,
			StateCopies: in.StateCopies,
		}
		if t.Secrets, err = plan.Secrets(h.Name, state.credentials.Resolve); err != nil {
			return err
		}
		list = append(list, t)
	}
	return a.writeTickets(list, o.output, pass)
}

// ticketState opens and locks the state directory of the cluster, and makes its
// authorities if there are none.
func (a *app) ticketState(o clusterOptions, in *stage.Input) (s clusterState, unlock func() error, err error) {
	if s, unlock, err = o.stateFor(*in, false); err != nil {
		return s, nil, err
	}
	if s.identity == "" {
		a.notef("new CAs and keys of %q in %s: no host was asked, and one that belongs to a cluster already refuses its ticket", in.Cluster.Name, s.dir)
	}
	if in.StateCopies, err = s.credentials.HasCopy(); err == nil {
		err = a.establish(installOptions{}, in.Cluster, &s)
	}
	if err != nil {
		_ = unlock()
	}
	return s, unlock, err
}

// someHosts returns the hosts of that name, all if there are no names.
func someHosts(c *manifests.Cluster, names []string) ([]manifests.Host, error) {
	some := *c
	some.Hosts = slices.Clone(c.Hosts)
	err := selectHosts(&some, names)
	return some.Hosts, err
}

// writtenTicket is an element of the result of ticket.
type writtenTicket struct {
	File string `json:"file"`
	installer.TicketHeader
}

// writeTickets writes each ticket into the directory dir, and prints the list.
func (a *app) writeTickets(list []installer.Ticket, dir string, pass []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var out []writtenTicket
	for _, t := range list {
		sealed, err := t.Seal(pass)
		if err != nil {
			return err
		}
		file := filepath.Join(dir, t.Host+".ticket")
		if err := durable.WriteFile(file, sealed, 0o600); err != nil {
			return err
		}
		out = append(out, writtenTicket{file, t.TicketHeader})
	}
	return a.result(out, func(w io.Writer) error {
		table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		fmt.Fprintln(table, "HOST\tFILE\tVALID UNTIL")
		for _, t := range out {
			fmt.Fprintf(table, "%s\t%s\t%s\n", t.Host, t.File, t.Expires.Format(time.RFC3339))
		}
		return table.Flush()
	})
}
