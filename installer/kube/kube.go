// Package kube holds the step kinds that change or observe the cluster rather than
// one host. On a control plane, they read from the API server and run the bundle's
// kubectl for changes, so that client and server always have the same version.
//
// kubectl gets data in arguments and on standard input, never through a shell.
// Kinds lists the kinds for the agent's decoder; a new kind is one file and one
// line there.
package kube

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// Paths of kubectl and of kubeconfigs on a control plane.
const (
	Kubectl = step.BinDir + "/kubectl"
	// AdminConf is for people. Its rights come from a binding, which can be removed.
	AdminConf = "/etc/kubernetes/admin.conf"
	// SuperConf is for the steps, and for an emergency: it has every right, even if no
	// binding is left.
	SuperConf = "/etc/kubernetes/super-admin.conf"
)

// Kinds returns the constructors of this package's kinds.
func Kinds() step.Kinds {
	return step.Kinds{
		"kube-healthy":    func() step.Step { return &Healthy{} },
		"kube-apply":      func() step.Step { return &Apply{} },
		"kube-rollout":    func() step.Step { return &Rollout{} },
		"kube-drain":      func() step.Step { return &Drain{} },
		"kube-node-gone":  func() step.Step { return &NodeGone{} },
		"kube-nodes":      func() step.Step { return &Nodes{} },
		"kube-node":       func() step.Step { return &Node{} },
		"kube-csr":        func() step.Step { return &ServingCertificates{} },
		"kube-token":      func() step.Step { return &Token{} },
		"kube-token-gone": func() step.Step { return &TokenGone{} },
		"kube-known-key":  func() step.Step { return &KnownKey{} },
		"kube-rewrite":    func() step.Step { return &Rewrite{} },
		"kube-smoke":      func() step.Step { return &Smoke{} },
	}
}

// Client works with the API with a credential: it reads itself, and changes with the
// bundle's kubectl.
type Client struct {
	Run        step.Runner // runs kubectl
	Kubeconfig string      // path of the credential
	// ReadFile reads the kubeconfig; nil means os.ReadFile.
	ReadFile func(path string) ([]byte, error)
	// Transport answers what the client reads; nil means the API server.
	Transport http.RoundTripper
	// Home is the home directory of kubectl, where it caches the API's resources; empty
	// for root's.
	Home string
}

// admin returns the client of the steps, which run on a control plane.
func admin(env *step.Env) Client {
	return Client{Run: env.Run, Kubeconfig: adminConf(env), ReadFile: env.ReadFile}
}

// adminConf returns the kubeconfig of the steps. Clusters that an older offk8s installed
// have only the other one until the stage pki, with the same rights.
func adminConf(env *step.Env) string {
	if _, err := os.Stat(env.Path(SuperConf)); err == nil {
		return SuperConf
	}
	return AdminConf
}

func (c Client) kubectl(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	argv := append([]string{Kubectl, "--kubeconfig", c.Kubeconfig}, args...)
	cmd := step.Cmd{Argv: argv, Stdin: stdin}
	if c.Home != "" {
		cmd.Env = []string{"HOME=" + c.Home}
	}
	out, err := c.Run.Run(ctx, cmd)
	if err != nil {
		return out.Stdout, fmt.Errorf("kubectl %s: %w", args[0], err)
	}
	return out.Stdout, nil
}

// clusterStays reports, for Undo, whether to change the cluster: it stays and this host
// is still a control plane of it.
func clusterStays(env *step.Env) bool {
	_, err := os.Stat(env.Path(adminConf(env)))
	return env.Kept != nil && err == nil
}

// kubectl runs the bundle's kubectl as admin.
func kubectl(ctx context.Context, env *step.Env, stdin []byte, args ...string) ([]byte, error) {
	return admin(env).kubectl(ctx, stdin, args...)
}

// get is Client.get as admin.
func get(ctx context.Context, env *step.Env, into any, path string) error {
	return admin(env).get(ctx, into, path)
}

// interval is the time between two looks at the cluster.
const interval = 2 * time.Second

func timeout(d step.Duration, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return time.Duration(d)
}
