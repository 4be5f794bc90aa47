package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/manifests"
)

func (a *app) kubeconfigCommand() *cobra.Command {
	var o clusterOptions
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the kubeconfig of the cluster's administrator",
		Long: `Prints a kubeconfig for the administrator of the cluster, from the credentials in the
directory --state. It does not connect to the hosts. The output contains a private key:
anyone who has it has every right in the cluster until the certificate expires, or the
ClusterRoleBinding offk8s:cluster-admins is deleted. An administrator without access has
/etc/kubernetes/super-admin.conf on the control planes, which needs no binding.

install writes the same kubeconfig into the directory --state.

Exit status: 0 done; 2 usage, configuration, or no credentials there.`,
		Example: `  offk8s kubeconfig > admin.kubeconfig`,
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.kubeconfig(o) },
	}
	o.fileFlag(cmd)
	o.stateFlag(cmd)
	return cmd
}

func (a *app) kubeconfig(o clusterOptions) error {
	_, found, err := o.loadWithState()
	if err != nil {
		return err
	}
	b, err := found.credentials.Resolve(pki.KubeconfigRef(pki.Admin))
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(b)
	return err
}

// access is how the administrator reaches a cluster.
type access struct {
	Endpoint   string `json:"endpoint,omitempty"`   // URL of the API
	Kubeconfig string `json:"kubeconfig,omitempty"` // file
}

// writeKubeconfig writes the administrator's kubeconfig into the state directory.
func writeKubeconfig(c *manifests.Cluster, credentials *pki.Credentials, dir string) (access, error) {
	b, err := credentials.Resolve(pki.KubeconfigRef(pki.Admin))
	if err != nil {
		return access{}, err
	}
	file := filepath.Join(dir, "admin.kubeconfig")
	if err := durable.WriteFile(file, b, 0o600); err != nil {
		return access{}, fmt.Errorf("kubeconfig: %w", err)
	}
	return access{"https://" + c.Endpoint(), file}, nil
}
