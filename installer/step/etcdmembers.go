package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// EtcdClient is how a step on a member's host calls etcd. etcdctl travels with the
// member, so that both have the same version.
type EtcdClient struct {
	CAFile string `json:"caFile"`
	Cert   string `json:"cert"`
	Key    string `json:"key"`
}

func (c EtcdClient) validate() error {
	return errors.Join(checkPath("caFile", c.CAFile), checkPath("cert", c.Cert), checkPath("key", c.Key))
}

// ctl runs etcdctl against the endpoints.
func (c EtcdClient) ctl(ctx context.Context, env *Env, endpoints []string, args ...string) (Output, error) {
	argv := append([]string{
		Etcdctl, "--endpoints", strings.Join(endpoints, ","), "--cacert", c.CAFile, "--cert", c.Cert, "--key", c.Key,
		"--dial-timeout", "2s", "--command-timeout", "4s",
	}, args...)
	// etcdctl before 3.4 uses version 2 by default.
	return env.Run.Run(ctx, Cmd{Argv: argv, Env: []string{"ETCDCTL_API=3"}})
}

// etcdMember is a member as `etcdctl member list -w json` writes it. Name and
// ClientURLs are empty until the member has started.
type etcdMember struct {
	ID         uint64   `json:"ID"`
	Name       string   `json:"name"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"`
	IsLearner  bool     `json:"isLearner"`
}

func (m etcdMember) started() bool { return len(m.ClientURLs) > 0 }

// members returns the members of the etcd behind the endpoints.
func (c EtcdClient) members(ctx context.Context, env *Env, endpoints []string) ([]etcdMember, error) {
	out, err := c.ctl(ctx, env, endpoints, "member", "list", "-w", "json")
	if err != nil {
		return nil, fmt.Errorf("members of etcd: %w", err)
	}
	var list struct {
		Members []etcdMember `json:"members"`
	}
	if err := json.Unmarshal(out.Stdout, &list); err != nil {
		return nil, fmt.Errorf("members of etcd: %w", err)
	}
	return list.Members, nil
}

// healthy returns the endpoints that serve requests, and the error of each other one.
func (c EtcdClient) healthy(ctx context.Context, env *Env, endpoints []string) (ok []string, errs []error) {
	for _, e := range endpoints {
		if _, err := c.ctl(ctx, env, []string{e}, "endpoint", "health"); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e, err))
			continue
		}
		ok = append(ok, e)
	}
	return ok, errs
}

// How long and how often EtcdQuorum looks; tests replace them.
var (
	quorumPatience = 20 * time.Second
	quorumInterval = time.Second
)

// EtcdQuorum observes that enough members serve requests, and changes nothing. It is
// the gate before a member may restart.
type EtcdQuorum struct {
	NoUndo
	EtcdClient
	Members []string `json:"members"` // client URLs of the other members
	Need    int      `json:"need"`    // how many of them must be healthy
}

func (*EtcdQuorum) Kind() string { return "etcd-quorum" }

func (*EtcdQuorum) Observes() bool { return true }

func (q *EtcdQuorum) Describe() string {
	return fmt.Sprintf("%d of the %d other etcd members are healthy", q.Need, len(q.Members))
}

func (q *EtcdQuorum) Validate() error {
	err := q.EtcdClient.validate()
	if q.Need < 1 || q.Need > len(q.Members) {
		err = errors.Join(err, fmt.Errorf("need: %d of %d members", q.Need, len(q.Members)))
	}
	return err
}

func (q *EtcdQuorum) Check(ctx context.Context, env *Env) (Result, error) {
	ok, errs := q.healthy(ctx, env, q.Members)
	if err := context.Cause(ctx); err != nil {
		return Result{}, err
	}
	if len(ok) < q.Need {
		return Result{State: Differs, Reason: fmt.Sprintf("%d of %d are healthy: %v", len(ok), len(q.Members), errors.Join(errs...))}, nil
	}
	return Result{State: Verified, Reason: fmt.Sprintf("%d of %d are healthy", len(ok), len(q.Members))}, nil
}

// Apply looks once more: a member that just restarted is unhealthy for a moment.
func (q *EtcdQuorum) Apply(ctx context.Context, env *Env) (Result, error) {
	err := Poll(ctx, env, quorumPatience, quorumInterval, "a quorum without this member", func(ctx context.Context) (string, error) {
		res, err := q.Check(ctx, env)
		if res.State == Verified {
			return "", nil
		}
		return res.Reason, err
	})
	if err != nil {
		return Result{}, err
	}
	return Result{State: Verified}, nil
}
