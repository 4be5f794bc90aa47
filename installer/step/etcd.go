package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// EtcdData inspects a member's data before etcd starts for the first time. There
// are four cases:
//
//   - never bootstrapped: no data, and no peer knows the member: etcd may start;
//   - half bootstrapped: a start was interrupted before the write-ahead log had
//     any entry: the rest is wiped and etcd may start;
//   - data: never touched, and refused if offk8s did not create it;
//   - lost: no data although the member ran before. A new start could lose
//     acknowledged writes, so an administrator has to replace the member.
type EtcdData struct {
	Dir   string `json:"dir"`
	Name  string `json:"name"`  // of the member
	Token string `json:"token"` // of the cluster, --initial-cluster-token
	// Peers are the client URLs of the other members.
	Peers []string `json:"peers,omitempty"`
	// PeerURL is this member's peer URL, as in the initial cluster.
	PeerURL string `json:"peerURL"`
	EtcdClient
	// Started is set for the check after the first start, which records that the
	// member has data from now on.
	Started bool `json:"started,omitempty"`
}

func (*EtcdData) Kind() string { return "etcd-data" }

func (e *EtcdData) Target() Target { return Target{Name: e.Name} }

func (e *EtcdData) Describe() string {
	return fmt.Sprintf("data of etcd member %s is its own or not there yet", e.Name)
}

func (e *EtcdData) Validate() error {
	errs := []error{CheckName("name", e.Name), CheckName("token", e.Token)}
	errs = append(errs, checkPath("dir", e.Dir), e.EtcdClient.validate())
	return errors.Join(errs...)
}

func (e *EtcdData) stampKey() string { return "etcd/" + e.Name }

// The values of the stamp: the member may bootstrap, or has data.
func (e *EtcdData) stampNew() string  { return e.Token + " new" }
func (e *EtcdData) stampData() string { return e.Token + " data" }

func (e *EtcdData) Check(ctx context.Context, env *Env) (Result, error) {
	state, err := e.state(env)
	if err != nil {
		return Result{}, err
	}
	stamp := env.Stamp(e.stampKey())
	ours := stamp == e.stampNew() || stamp == e.stampData()
	switch {
	case e.Started && stamp != e.stampData():
		return Result{State: Differs, Reason: "not known to have data yet"}, nil
	case state == dataWhole && ours:
		return Result{State: OK, Reason: "has data, never wiped"}, nil
	case state == dataWhole:
		return Result{}, fmt.Errorf("etcd member %q: %q holds the data of an etcd that offk8s did not make; "+
			"move it away if it is not needed any more", e.Name, e.Dir)
	case stamp == e.stampData():
		return Result{}, e.lost("its journal says so")
	case state == dataHalf:
		return Result{State: Differs, Reason: "half bootstrapped, safe to wipe"}, nil
	case ours && e.ranBefore(ctx, env):
		return Result{}, e.lost("the other members know it")
	case ours: // an earlier run ended before etcd was started
		return Result{State: OK, Reason: "never bootstrapped"}, nil
	}
	return Result{State: Differs, Reason: "never bootstrapped"}, nil
}

// Apply wipes a half bootstrapped member and records that data that appears from
// now on belongs to offk8s.
func (e *EtcdData) Apply(ctx context.Context, env *Env) (Result, error) {
	state, err := e.state(env)
	if err != nil {
		return Result{}, err
	}
	if e.Started {
		if state != dataWhole {
			return Result{}, fmt.Errorf("etcd member %q: %q has no data after the start", e.Name, e.Dir)
		}
		return Result{State: Verified, Reason: "has data"}, env.SetStamp(e.stampKey(), e.stampData())
	}
	if state == dataWhole {
		return Result{}, fmt.Errorf("etcd member %q: %q has data, never wiped", e.Name, e.Dir)
	}
	if e.ranBefore(ctx, env) {
		return Result{}, e.lost("the other members know it")
	}
	if state == dataHalf {
		member := filepath.Join(e.Dir, "member")
		if err := env.checkParents(member); err != nil {
			return Result{}, err
		}
		if err := os.RemoveAll(env.Path(member)); err != nil {
			return Result{}, fmt.Errorf("etcd member %q: %w", e.Name, err)
		}
	}
	if err := env.SetStamp(e.stampKey(), e.stampNew()); err != nil {
		return Result{}, err
	}
	return Result{State: Changed, Reason: "may bootstrap"}, nil
}

// Undo forgets the member, so that a later install may bootstrap it again.
// Another step removes the data directory.
func (e *EtcdData) Undo(_ context.Context, env *Env, _ json.RawMessage) error {
	return env.SetStamp(e.stampKey(), "")
}

func (e *EtcdData) lost(why string) error {
	return fmt.Errorf("etcd member %q: %q is empty, but it has run before (%s): "+
		"starting it anew could lose data; remove the member and add it again", e.Name, e.Dir, why)
}

type dataState int

const (
	dataNone dataState = iota
	dataHalf
	dataWhole
)

// state inspects the data directory. etcd creates member/snap/db and then
// member/wal (as wal.tmp, renamed once complete); only a log file with content
// counts as data.
func (e *EtcdData) state(env *Env) (dataState, error) {
	member := env.Path(filepath.Join(e.Dir, "member"))
	if _, err := os.Stat(member); errors.Is(err, fs.ErrNotExist) {
		return dataNone, nil
	} else if err != nil {
		return dataNone, fmt.Errorf("etcd data: %w", err)
	}
	logs, err := filepath.Glob(filepath.Join(member, "wal", "*.wal"))
	if err != nil {
		return dataNone, err
	}
	for _, l := range logs {
		info, err := os.Stat(l)
		if err != nil {
			return dataNone, fmt.Errorf("etcd data: %w", err)
		}
		if info.Size() > 0 {
			return dataWhole, nil
		}
	}
	return dataHalf, nil
}

// ranBefore asks the other members whether this one has ever started: until then
// it has no client URLs in their list. Peers that do not answer, as during a
// first install, count as "no".
func (e *EtcdData) ranBefore(ctx context.Context, env *Env) bool {
	if len(e.Peers) == 0 {
		return false
	}
	list, err := e.members(ctx, env, e.Peers)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(list, func(m etcdMember) bool {
		return slices.Contains(m.PeerURLs, e.PeerURL) && m.started()
	})
}
