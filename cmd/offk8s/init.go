package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

func (a *app) initCommand() *cobra.Command {
	var output string
	var filled manifests.NewCluster
	cmd := &cobra.Command{
		Use:   "init {pack|cluster}",
		Short: "Write a commented pack.yaml or cluster.yaml",
		Long:  initText(),
		Example: `  offk8s init cluster              # writes ./cluster.yaml
  offk8s init cluster --topology production --vip 10.0.0.10 \
    --hosts 10.0.0.11,10.0.0.12,10.0.0.13,10.0.0.14,10.0.0.15,10.0.0.16
  offk8s init pack -o -            # prints pack.yaml`,
		ValidArgs: []string{"pack", "cluster"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(cmd.ValidArgs, args[0]) {
				err := errors.New("want one argument: pack or cluster")
				if len(args) == 1 {
					return withHint(fmt.Errorf("found %q, %w", args[0], err), "%s", nearestOf(args[0], cmd.ValidArgs))
				}
				if len(args) == 2 && slices.Contains(cmd.ValidArgs, args[0]) {
					return withHint(err, "%s", argumentHint(cmd, args[1]))
				}
				return err
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			content, name := manifests.InitCluster(), "cluster.yaml"
			if args[0] == "pack" {
				content, name = manifests.InitManifest(), "pack.yaml"
			}
			if fill := filled.Topology != "" || len(filled.Hosts) > 0 || filled.VIP != "" || filled.Endpoint != ""; fill && args[0] == "pack" {
				return usagef("--topology, --hosts, --vip and --endpoint are for init cluster")
			} else if fill && filled.Topology == "" {
				return withHint(usagef("init cluster: --hosts, --vip and --endpoint need --topology"), "offk8s init --help lists the topologies")
			} else if fill {
				var err error
				content, err = filled.Write()
				if _, ok := errors.AsType[*strict.Error](err); ok { // says what to write
					return usagef("init cluster: %v", err)
				} else if err != nil {
					return withHint(usagef("init cluster: %v", err), "offk8s init --help lists the topologies")
				}
			}
			if output == "-" {
				_, err := a.stdout.Write(content)
				return err
			}
			if output != "" {
				name = output
			}
			if err := hintExists(name, durable.Create(name, content, 0o644)); err != nil {
				return err
			}
			a.notef(nextSteps[args[0]], name)
			_, err := fmt.Fprintln(a.stdout, name)
			return err
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write, - for stdout (default ./pack.yaml or ./cluster.yaml)")
	cmd.Flags().StringVar(&filled.Topology, "topology", "", "roles of the hosts, see above")
	cmd.Flags().StringSliceVar(&filled.Hosts, "hosts", nil, "addresses, or name=address, in the order of the roles")
	cmd.Flags().StringVar(&filled.VIP, "vip", "", "virtual address of the load balancers")
	cmd.Flags().StringVar(&filled.Endpoint, "endpoint", "", "host:port of an external load balancer")
	return cmd
}

// nextSteps are the words after the file, by its kind.
var nextSteps = map[string]string{
	"cluster": "in %[1]s, set mirror.url and mirror.caFingerprint to what offk8s serve prints, ssh.user, and the hosts if they are examples; then: offk8s plan -f %[1]s",
	"pack":    "edit %[1]s, then: offk8s pack -f %[1]s",
}

func initText() string {
	var b strings.Builder
	b.WriteString("Write a commented pack.yaml or cluster.yaml to start from.\n\nWith --topology and --hosts, cluster.yaml has your hosts in their roles:\n\n")
	for _, t := range manifests.Topologies() {
		fmt.Fprintf(&b, "  %-16s %s\n", t.Name, t.About)
	}
	b.WriteString("\nha is another name of production.\n")
	return b.String()
}

// hintExists adds a hint if err reports that the file name exists.
func hintExists(name string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return withHint(usagef("%q already exists", name), "choose another file with -o, or remove this one first")
	}
	return err
}
