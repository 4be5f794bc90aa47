package installer_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// An installation from cluster.yaml to a running cluster, with the lock and the
// credentials in a state directory.
func Example() {
	install := func(ctx context.Context, cluster *manifests.Cluster, publicKeys, stateDir string) (*installer.Report, error) {
		unlock, err := installer.LockState(stateDir)
		if err != nil {
			return nil, err
		}
		defer unlock()
		credentials, err := pki.Open(pki.Options{Dir: filepath.Join(stateDir, "pki"), Cluster: cluster})
		if err != nil {
			return nil, err
		}
		mirror, err := installer.OpenMirror(ctx, cluster.Mirror, agent.Bundle{PublicKeys: publicKeys})
		if err != nil {
			return nil, err
		}
		fleet, err := installer.Connect(ctx, cluster, installer.ConnectOptions{SSH: host.SSHConfig{Home: os.Getenv("HOME")}})
		if err != nil {
			return nil, err
		}
		defer fleet.Close()
		in := stage.Input{
			Cluster: cluster, Lock: mirror.Lock, Root: mirror.Root,
			MirrorCA: []byte(mirror.Agent.CAPEM), OpenPGPKey: mirror.OpenPGPKey,
		}
		in, _, err = fleet.Preflight(ctx, in)
		if err != nil {
			return nil, err
		}
		plan, err := installer.NewPlan(in, stage.Install())
		if err != nil {
			return nil, err
		}
		return installer.Run(ctx, plan, fleet, installer.RunOptions{
			Bundle: agent.Bundle{PublicKeys: publicKeys}, Mirror: mirror.Agent, Secrets: credentials.Resolve,
		})
	}
	_ = install
}

// A plan needs no host. The stages of an installation are stage.Install; this is one
// of the caller.
func ExampleNewPlan() {
	swap := stage.Stage{Name: "swap", Title: "no swap", Steps: func(_ stage.Input, h manifests.Host) ([]step.Item, error) {
		if !h.IsNode() {
			return nil, nil
		}
		return []step.Item{{ID: "swap/off", Why: "the kubelet refuses to start with swap on", Step: &step.Swap{}}}, nil
	}}
	in := stage.Input{
		Cluster: &manifests.Cluster{Name: "lab", Hosts: []manifests.Host{
			{Name: "etcd-1", Address: "10.0.0.1", Roles: []manifests.Role{manifests.RoleEtcd}},
			{Name: "node-1", Address: "10.0.0.2", Roles: []manifests.Role{manifests.RoleWorker}},
		}},
		Lock: &manifests.Lock{Name: "kubernetes-1.36", Kubernetes: "1.36.3"},
	}
	plan, err := installer.NewPlan(in, stage.Operation{Stages: []stage.Stage{swap}})
	if err != nil {
		log.Fatal(err)
	}
	if err := plan.WriteText(os.Stdout); err != nil {
		log.Fatal(err)
	}
	// Output:
	// cluster lab, Kubernetes 1.36.3, bundle kubernetes-1.36
	// hosts: 1, stages: 1, steps: 1
	//   node-1: worker
	//
	// swap: no swap
	//   node-1
	//     swap off
	//       the kubelet refuses to start with swap on
}

// Two installations of one cluster do not run at the same time.
func ExampleLockState() {
	dir, err := os.MkdirTemp("", "state")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	unlock, err := installer.LockState(dir)
	if err != nil {
		log.Fatal(err)
	}
	_, err = installer.LockState(dir)
	fmt.Println("locked:", errors.Is(err, agent.ErrLocked))
	if err := unlock(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// locked: true
}
