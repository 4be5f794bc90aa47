package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
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

// EtcdMember is a member of etcd as `etcdctl member list -w json` writes it. Name and
// ClientURLs are empty until the member has started.
type EtcdMember struct {
	ID         uint64   `json:"ID"`
	Name       string   `json:"name"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"`
	IsLearner  bool     `json:"isLearner"`
}

// Started reports whether the member has ever started.
func (m EtcdMember) Started() bool { return len(m.ClientURLs) > 0 }

// hexID returns the ID as etcdctl takes it.
func (m EtcdMember) hexID() string { return strconv.FormatUint(m.ID, 16) }

// Members returns the members that the etcd on this host knows, nil if it does not
// answer.
func (c EtcdClient) Members(ctx context.Context, env *Env) []EtcdMember {
	list, err := c.members(ctx, env, []string{"https://127.0.0.1:2379"})
	if err != nil {
		return nil
	}
	return list
}

// LocalEtcd is the client on the host of a member.
func LocalEtcd() EtcdClient {
	return EtcdClient{CAFile: EtcdPKI + "/ca.crt", Cert: EtcdPKI + "/client.crt", Key: EtcdPKI + "/client.key"}
}

// members returns the members of the etcd behind the endpoints.
func (c EtcdClient) members(ctx context.Context, env *Env, endpoints []string) ([]EtcdMember, error) {
	if list, err := c.list(ctx, env, endpoints); err == nil {
		return list, nil
	}
	out, err := c.ctl(ctx, env, endpoints, "member", "list", "-w", "json")
	if err != nil {
		return nil, fmt.Errorf("members of etcd: %w", err)
	}
	var list struct {
		Members []EtcdMember `json:"members"`
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

// EtcdPromote gives a vote to a member that joined as a learner, once it has caught up.
// It changes nothing on the host.
type EtcdPromote struct {
	NoUndo
	EtcdClient
	Name    string   `json:"name"`
	PeerURL string   `json:"peerURL"`
	Peers   []string `json:"peers"`             // client URLs of the other members
	Timeout Duration `json:"timeout,omitempty"` // default 10 minutes
}

func (*EtcdPromote) Kind() string { return "etcd-promote" }

func (*EtcdPromote) Observes() bool { return true }

func (p *EtcdPromote) Describe() string { return "etcd member " + p.Name + " has a vote" }

func (p *EtcdPromote) Validate() error {
	err := errors.Join(CheckName("name", p.Name), p.EtcdClient.validate())
	if len(p.Peers) == 0 {
		err = errors.Join(err, errors.New("peers: none"))
	}
	return err
}

func (p *EtcdPromote) Check(ctx context.Context, env *Env) (Result, error) {
	_, reason, err := p.look(ctx, env)
	return CheckResult(ctx, reason, err)
}

// look returns the member, and why it has no vote.
func (p *EtcdPromote) look(ctx context.Context, env *Env) (EtcdMember, string, error) {
	list, err := p.members(ctx, env, p.Peers)
	if err != nil {
		return EtcdMember{}, "", err
	}
	i := slices.IndexFunc(list, func(m EtcdMember) bool { return slices.Contains(m.PeerURLs, p.PeerURL) })
	switch {
	case i < 0:
		return EtcdMember{}, "it is no member", nil
	case !list[i].Started():
		return list[i], "it has not started", nil
	case list[i].IsLearner:
		return list[i], "it is a learner", nil
	}
	return list[i], "", nil
}

func (p *EtcdPromote) Apply(ctx context.Context, env *Env) (Result, error) {
	limit := time.Duration(p.Timeout)
	if limit == 0 {
		limit = 10 * time.Minute
	}
	err := Poll(ctx, env, limit, quorumInterval, p.Describe(), func(ctx context.Context) (string, error) {
		m, reason, err := p.look(ctx, env)
		if err != nil || reason == "" || !m.IsLearner {
			return reason, err
		}
		// etcd refuses until the learner has caught up.
		if _, err := p.ctl(ctx, env, p.Peers, "member", "promote", m.hexID()); err != nil {
			return "", err
		}
		return "just promoted", nil
	})
	if err != nil {
		return Result{}, err
	}
	return Result{State: Verified}, nil
}

// EtcdLeave removes members from etcd that are no longer wanted. It runs on the host
// of a member that stays.
type EtcdLeave struct {
	NoUndo
	EtcdClient
	PeerURLs []string `json:"peerURLs"` // of the members to remove
	Stay     []string `json:"stay"`     // client URLs of the members that stay
}

func (*EtcdLeave) Kind() string { return "etcd-leave" }

func (*EtcdLeave) Observes() bool { return true }

func (l *EtcdLeave) Describe() string {
	return "etcd has no members at " + strings.Join(l.PeerURLs, ", ")
}

func (l *EtcdLeave) Validate() error {
	err := l.EtcdClient.validate()
	if len(l.PeerURLs) == 0 || len(l.Stay) == 0 {
		err = errors.Join(err, errors.New("want members to remove and members that stay"))
	}
	return err
}

func (l *EtcdLeave) Check(ctx context.Context, env *Env) (Result, error) {
	left, _, err := l.look(ctx, env)
	reason := ""
	if len(left) > 0 {
		reason = fmt.Sprintf("%d members to remove", len(left))
	}
	return CheckResult(ctx, reason, err)
}

// look returns the members to remove and the number of those that stay.
func (l *EtcdLeave) look(ctx context.Context, env *Env) (left []EtcdMember, stay int, err error) {
	list, err := l.members(ctx, env, l.Stay)
	for _, m := range list {
		if slices.ContainsFunc(m.PeerURLs, func(u string) bool { return slices.Contains(l.PeerURLs, u) }) {
			left = append(left, m)
		} else if !m.IsLearner {
			stay++
		}
	}
	return left, stay, err
}

// Apply removes one member after the other, if those that stay have a quorum among
// themselves. After a leader has left, etcd refuses for a moment.
func (l *EtcdLeave) Apply(ctx context.Context, env *Env) (Result, error) {
	left, stay, err := l.look(ctx, env)
	if err != nil {
		return Result{}, err
	}
	for _, m := range left {
		err := Poll(ctx, env, quorumPatience, quorumInterval, fmt.Sprintf("removal of etcd member %q", m.Name), func(ctx context.Context) (string, error) {
			ok, errs := l.healthy(ctx, env, l.Stay)
			if need := stay/2 + 1; len(ok) < need {
				return "", fmt.Errorf("etcd: of the %d members that stay %d are healthy, want %d before others are removed: %w",
					stay, len(ok), need, errors.Join(errs...))
			}
			_, err := l.ctl(ctx, env, ok, "member", "remove", m.hexID())
			return "", err
		})
		if err != nil {
			return Result{}, fmt.Errorf("etcd: remove member %q: %w", m.Name, err)
		}
	}
	return Result{State: Changed, Reason: fmt.Sprintf("removed %d members", len(left))}, nil
}
