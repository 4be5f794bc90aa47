package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
)

// doctorOptions are the flags of doctor.
type doctorOptions struct {
	cluster clusterOptions
	ignore  ignored
}

func (a *app) doctorCommand() *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the hosts and the mirror, and change nothing",
		Long: `Connects to every host in cluster.yaml and runs the checks that install runs before it
changes anything: operating system, memory, disks, kernel, addresses, clock, firewall, ports,
and what other software left, for a cluster that is to be installed as for one that runs.
It also checks that the mirror serves everything that the plan needs.

The table has a line per check and host: the verdict (pass, warn or fail), what was found,
what is wanted, and how to mend it. A check that fails stops install; a warning does not.
--ignore NAME turns a check that fails into a warning, as hostPreparation.ignorePreflight
does, except for those without which no cluster works. docs/hosts.md describes all checks.

A host that cannot be reached fails the check "connection", and the others are checked all
the same. Doctor copies its program to the hosts (/usr/local/lib/offk8s) and locks none.

Exit status: 0 no check fails; 1 no host can be reached; 2 usage or configuration; 4 the
bundle is bad; 5 it is not allowed; 6 a check fails.`,
		Example: `  offk8s doctor -f cluster.yaml --key offk8s.pub
  offk8s doctor --key offk8s.pub --ignore memory --format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context(), o) },
	}
	o.cluster.fileFlag(cmd)
	o.cluster.mirrorFlags(cmd)
	o.cluster.connectFlags(cmd)
	o.ignore.flag(cmd)
	return cmd
}

func (a *app) doctor(ctx context.Context, o doctorOptions) (err error) {
	c, err := o.cluster.load()
	if err != nil {
		return err
	}
	if err := o.ignore.apply(c); err != nil {
		return err
	}
	mirror, in, err := a.openMirror(ctx, o.cluster, c)
	if err != nil {
		return err
	}
	run := a.startRun("doctor", c.Name)
	defer func() { a.finishRun(run, "", err) }()
	fleet, err := a.connect(ctx, o.cluster, c, true, run)
	if err != nil {
		return err
	}
	defer fleet.Close()
	var checks []stage.Check
	err = run.stage("facts", len(c.Hosts), func() (err error) {
		checks, err = fleet.Doctor(ctx, in, mirror)
		return err
	})
	run.end()
	if err != nil {
		return err
	}
	return a.diagnosis(c.Name, advise(checks, fleet.Missing()))
}

// advise replaces the hints of failed connections by those for their errors, if there are any.
func advise(checks []stage.Check, missing map[string]error) []stage.Check {
	for i, c := range checks {
		if err := missing[c.Host]; err != nil && c.Name == "connection" {
			_, hint := classify(err)
			checks[i].Hint = cmp.Or(hint, c.Hint)
		}
	}
	return checks
}

// diagnosis is the result of doctor.
type diagnosis struct {
	Cluster string        `json:"cluster"`
	Pass    int           `json:"pass"` // how many checks pass, as Warn and Fail
	Warn    int           `json:"warn"`
	Fail    int           `json:"fail"`
	Checks  []stage.Check `json:"checks"`
}

// diagnosis prints the checks. It returns an error with the exit code if one failed.
func (a *app) diagnosis(cluster string, checks []stage.Check) error {
	v := diagnosis{Cluster: cluster, Checks: checks}
	for _, c := range checks {
		switch c.Verdict {
		case stage.Pass:
			v.Pass++
		case stage.Warn:
			v.Warn++
		case stage.Fail:
			v.Fail++
		}
	}
	err := a.result(v, func(w io.Writer) error {
		if err := writeChecks(w, checks); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "\n%d pass, %d warn, %d fail\n", v.Pass, v.Warn, v.Fail)
		return err
	})
	if err == nil && v.Fail > 0 {
		return quietError{exitPreflight}
	}
	return err
}

// writeChecks writes a table of checks.
func writeChecks(w io.Writer, checks []stage.Check) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "VERDICT\tHOST\tCHECK\tFOUND\tWANTED\tMEND")
	for _, c := range checks {
		row := []string{string(c.Verdict), cmp.Or(c.Host, "-"), c.Name}
		for _, s := range []string{c.Found, c.Want, c.Hint} {
			row = append(row, cmp.Or(oneLine(s, 0), "-"))
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

// ignored are the names of checks that only warn if they fail.
type ignored []string

func (i *ignored) flag(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar((*[]string)(i), "ignore", nil, "checks that only warn if they fail, as hostPreparation.ignorePreflight in the file")
}

// apply adds the names to those of cluster.yaml.
func (i ignored) apply(c *manifests.Cluster) error {
	for _, name := range i {
		if !slices.Contains(stage.CheckNames(), name) {
			return withHint(usagef("--ignore %q: want some of %s", name, strings.Join(stage.CheckNames(), ", ")), "%s", nearestOf(name, stage.CheckNames()))
		}
	}
	c.HostPrep.IgnorePreflight = append(c.HostPrep.IgnorePreflight, i...)
	return nil
}
