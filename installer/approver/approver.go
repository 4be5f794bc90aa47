// Package approver is the service that approves kubelets' requests for serving
// certificates, offk8s-approver.service. Kubernetes approves only their client
// certificates. A kubelet asks again at 70 to 90 % of a certificate's lifetime; without
// an answer, logs and exec fail at its end.
//
// The service runs on every control plane with a credential that may do nothing else.
// Approving a request again changes nothing, so the control planes need no leader. The
// rules are those of kube.Client.ServingRequests; the inventory is a file that install
// writes. cmd/offk8s runs it as the hidden command approver.
package approver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests/strict"
)

const (
	// interval is the time between two rounds. It doubles after each round that fails,
	// up to maxInterval.
	interval    = 10 * time.Second
	maxInterval = 2 * time.Minute
	// roundTimeout is the time limit for a round.
	roundTimeout = time.Minute
)

// Config is the content of the configuration file, JSON.
type Config struct {
	// Kubeconfig is the path of the credential.
	Kubeconfig string `json:"kubeconfig"`
	// Nodes are the inventory.
	Nodes []kube.NodeAddress `json:"nodes"`
}

// Options configure Run.
type Options struct {
	Config string       // path of the file with the Config, which each round reads again
	Runner step.Runner  // runs kubectl
	Log    *slog.Logger // gets approvals, refusals and errors
}

// Run approves requests until ctx ends, and then returns nil. Whatever fails is logged
// and tried again: the API may be down, and install may be about to write the file.
func Run(ctx context.Context, o Options) error {
	if o.Config == "" {
		return errors.New("approver: no configuration file")
	}
	r := round{o: o}
	for wait := interval; ; {
		if err := r.run(ctx); err == nil {
			wait = interval
		} else if ctx.Err() == nil {
			wait = min(2*wait, maxInterval)
			o.Log.Warn("round failed", "error", err, "next", wait)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

// round is the state between rounds.
type round struct {
	o Options
	// refused are the refusals of the last round that are logged, by request.
	refused map[string]string
}

func (r *round) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	conf, err := load(r.o.Config)
	if err != nil {
		return err
	}
	client := kube.Client{Run: r.o.Runner, Kubeconfig: conf.Kubeconfig}
	requests, err := client.ServingRequests(ctx, conf.Nodes)
	if err != nil {
		return err
	}
	var errs []error
	refused := map[string]string{}
	for _, q := range requests {
		if q.Refused != nil {
			id, reason := q.Name+" "+q.UID, q.Refused.Error()
			if r.refused[id] != reason {
				r.o.Log.Warn("request refused", "request", q.Name, "reason", reason)
			}
			refused[id] = reason
			continue
		}
		if err := client.Approve(ctx, q); err != nil {
			errs = append(errs, fmt.Errorf("request %s of %s: %w", q.Name, q.Node, err))
			continue
		}
		r.o.Log.Info("request approved", "request", q.Name, "node", q.Node)
	}
	r.refused = refused
	return errors.Join(errs...)
}

func load(file string) (Config, error) {
	var c Config
	b, err := os.ReadFile(file)
	if err != nil {
		return c, err
	}
	if err := strict.DecodeJSON(b, &c); err != nil {
		return c, fmt.Errorf("%q: %w", file, err)
	}
	if c.Kubeconfig == "" {
		err = errors.New("kubeconfig: empty")
	}
	if err := errors.Join(err, kube.CheckInventory(c.Nodes)); err != nil {
		return c, fmt.Errorf("%q: %w", file, err)
	}
	return c, nil
}
