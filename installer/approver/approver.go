// Package approver is the service of the control planes, offk8s-approver.service. It
// approves kubelets' requests for serving certificates and, with network.isolation, keeps
// the NetworkPolicy that isolates each namespace (kube.Isolation).
// Kubernetes approves only their client
// certificates. A kubelet asks again at 70 to 90 % of a certificate's lifetime; without
// an answer, logs and exec fail at its end.
//
// The service runs on every control plane with a credential that may do nothing else.
// Approving or isolating again changes nothing, so the control planes need no leader. The
// rules are those of kube.Client.ServingRequests; the inventory is a file that install
// writes. cmd/offk8s runs it as the hidden command approver.
package approver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests/strict"
)

const (
	// interval is the time between two rounds, isolationInterval that if the service
	// isolates namespaces, for which a new one is open. It doubles after each round that
	// fails, up to maxInterval.
	interval          = 10 * time.Second
	isolationInterval = 3 * time.Second
	maxInterval       = 2 * time.Minute
	// roundTimeout is the time limit for a round.
	roundTimeout = 2 * time.Minute
	// batchSize is the number of requests that one call of kubectl approves.
	batchSize = 50
)

// Config is the content of the configuration file, JSON.
type Config struct {
	// Kubeconfig is the path of the credential.
	Kubeconfig string `json:"kubeconfig"`
	// Nodes are the inventory.
	Nodes []kube.NodeAddress `json:"nodes"`
	// Isolation, if it is set, makes the service isolate namespaces.
	Isolation *kube.Isolation `json:"isolation,omitempty"`
}

// Options configure Run.
type Options struct {
	Config string       // path of the file with the Config, which each round reads again
	Runner step.Runner  // runs kubectl, which approves
	Log    *slog.Logger // gets approvals, refusals and errors
	// Transport answers what the service reads; nil means the API server.
	Transport http.RoundTripper
}

// Run approves requests until ctx ends, and then returns nil. Whatever fails is logged
// and tried again: the API may be down, and install may be about to write the file.
func Run(ctx context.Context, o Options) error {
	if o.Config == "" {
		return errors.New("approver: no configuration file")
	}
	// The unit hides root's home directory.
	home, err := os.MkdirTemp("", "offk8s-approver-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(home)
	r := round{o: o, home: home, pause: interval}
	for wait := interval; ; {
		if err := r.run(ctx); err == nil {
			wait = r.pause
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
	o    Options
	home string // of kubectl
	// pause is the time until the next round.
	pause time.Duration
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
	client := kube.Client{Run: r.o.Runner, Kubeconfig: conf.Kubeconfig, Transport: r.o.Transport, Home: r.home}
	r.pause = interval
	if conf.Isolation != nil {
		r.pause = isolationInterval
		err = r.isolate(ctx, client, *conf.Isolation)
	}
	return errors.Join(r.approve(ctx, client, conf.Nodes), err)
}

// isolate isolates the namespaces that are not.
func (r *round) isolate(ctx context.Context, client kube.Client, i kube.Isolation) error {
	changed, err := client.Isolate(ctx, i)
	if err != nil {
		return fmt.Errorf("isolate namespaces: %w", err)
	}
	for _, ns := range changed {
		r.o.Log.Info("isolation of a namespace changed", "namespace", ns, "isolated", !i.Off)
	}
	return nil
}

// approve approves the requests that are right.
func (r *round) approve(ctx context.Context, client kube.Client, nodes []kube.NodeAddress) error {
	requests, err := client.ServingRequests(ctx, nodes)
	if err != nil {
		return err
	}
	requests = r.refuse(requests)
	for batch := range slices.Chunk(requests, batchSize) {
		if err := client.Approve(ctx, batch...); err != nil {
			return err // those that it approved are not in the next list
		}
		for _, q := range batch {
			r.o.Log.Info("request approved", "request", q.Name, "node", q.Node)
		}
	}
	return nil
}

// refuse logs new refusals and returns the requests that may be approved.
func (r *round) refuse(requests []kube.ServingRequest) (right []kube.ServingRequest) {
	refused := map[string]string{}
	for _, q := range requests {
		if q.Refused == nil {
			right = append(right, q)
			continue
		}
		id, reason := q.Name+" "+q.UID, q.Refused.Error()
		if r.refused[id] != reason {
			r.o.Log.Warn("request refused", "request", q.Name, "reason", reason)
		}
		refused[id] = reason
	}
	r.refused = refused
	return right
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
	if c.Isolation != nil {
		err = errors.Join(err, c.Isolation.Check())
	}
	if err := errors.Join(err, kube.CheckInventory(c.Nodes)); err != nil {
		return c, fmt.Errorf("%q: %w", file, err)
	}
	return c, nil
}
