package step

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// EtcdData inspects a member's data before etcd starts for the first time, and writes
// the environment with which it starts. The cases:
//
//   - never bootstrapped: no data, and no peer knows the member: etcd may start;
//   - half bootstrapped: a start was interrupted before the write-ahead log had
//     any entry: the rest is wiped and etcd may start;
//   - new to a running etcd: the other members serve requests without it: it is added
//     to them, in the place of a member with its address or name, whose host is gone;
//   - data: never touched, and refused if offk8s did not create it;
//   - lost: no data although the member ran before. A new start could lose
//     acknowledged writes, so an administrator has to decide.
type EtcdData struct {
	Dir   string `json:"dir"`
	Name  string `json:"name"`  // of the member
	Token string `json:"token"` // of the cluster, --initial-cluster-token
	// Peers are the client URLs of the other members.
	Peers []string `json:"peers,omitempty"`
	// PeerURL is this member's peer URL, as in the initial cluster.
	PeerURL string `json:"peerURL"`
	// Initial are the members of a cluster that starts for the first time, as
	// "name=peerURL". EnvFile is the file of variables for etcd that it goes to. Both are
	// empty if Started is set.
	Initial []string `json:"initial,omitempty"`
	EnvFile string   `json:"envFile,omitempty"`
	// Join: the cluster has run before, so that the member must not bootstrap.
	Join bool `json:"join,omitempty"`
	// Learner makes a new member catch up before it has a vote (etcd 3.4).
	Learner bool `json:"learner,omitempty"`
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
	if e.EnvFile != "" { // journals of older versions lack it
		errs = append(errs, checkPath("envFile", e.EnvFile))
	}
	return errors.Join(errs...)
}

const etcdStamp = "etcd/" // before the member's name

func (e *EtcdData) stampKey() string { return etcdStamp + e.Name }

// EtcdHasData reports whether a stamp says that a member of this host has data, which
// means that its etcd had a quorum once.
func EtcdHasData(stamps map[string]string) bool {
	for key, value := range stamps {
		if strings.HasPrefix(key, etcdStamp) && strings.HasSuffix(value, dataSuffix) {
			return true
		}
	}
	return false
}

// The values of the stamp: the member may bootstrap, or has data.
func (e *EtcdData) stampNew() string  { return e.Token + " new" }
func (e *EtcdData) stampData() string { return e.Token + dataSuffix }

const dataSuffix = " data"

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
	case !ours:
		return Result{State: Differs, Reason: "never bootstrapped"}, nil
	}
	// An earlier run ended before etcd was started.
	start, err := e.start(ctx, env)
	if err != nil {
		return Result{}, err
	}
	have, err := env.ReadFile(e.EnvFile)
	if err != nil && !absent(err) {
		return Result{}, err
	}
	if start.add || string(have) != start.environment {
		return Result{State: Differs, Reason: start.reason}, nil
	}
	return Result{State: OK, Reason: start.reason}, nil
}

// Apply wipes a half bootstrapped member, adds one that is new to a running etcd, and
// records that data that appears from now on belongs to offk8s.
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
	start, err := e.start(ctx, env)
	if err != nil {
		return Result{}, err
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
	for _, m := range start.drop {
		env.Log.Info("member whose host is gone is removed", "member", m.Name, "id", m.hexID())
		if err := e.change(ctx, env, "remove", m.hexID()); err != nil {
			return Result{}, fmt.Errorf("etcd member %q: remove its predecessor %s: %w", e.Name, m.hexID(), err)
		}
	}
	if start.add {
		args := []string{"add", e.Name, "--peer-urls=" + e.PeerURL}
		if e.Learner {
			args = append(args, "--learner")
		}
		if err := e.change(ctx, env, args...); err != nil {
			return Result{}, fmt.Errorf("etcd member %q: add it to the running etcd: %w", e.Name, err)
		}
	}
	if err := env.write(place{path: e.EnvFile, mode: 0o644}, strings.NewReader(start.environment)); err != nil {
		return Result{}, err
	}
	if err := env.SetStamp(e.stampKey(), e.stampNew()); err != nil {
		return Result{}, err
	}
	return Result{State: Changed, Reason: start.reason}, nil
}

// notSettled are refusals of a change of members that end by themselves: since the last
// change, each member must have started and been in contact with the others for five seconds
// (etcd, server/etcdserver/server.go: HealthInterval).
var notSettled = []string{"unhealthy cluster", "not enough started members"}

// change changes the members of the running etcd. Other errors than notSettled may come
// after the change, so it is not tried again.
func (e *EtcdData) change(ctx context.Context, env *Env, args ...string) error {
	var failed error
	err := Poll(ctx, env, quorumPatience, quorumInterval, "members of etcd in contact with each other", func(ctx context.Context) (string, error) {
		_, failed = e.ctl(ctx, env, e.Peers, append([]string{"member"}, args...)...)
		if failed == nil || !slices.ContainsFunc(notSettled, func(s string) bool { return strings.Contains(failed.Error(), s) }) {
			return "", nil
		}
		return failed.Error(), nil
	})
	return cmp.Or(err, failed)
}

// Undo forgets the member, so that a later install may bootstrap it again.
// Another step removes the data directory.
func (e *EtcdData) Undo(_ context.Context, env *Env, _ json.RawMessage) error {
	if e.EnvFile != "" {
		if err := os.Remove(env.Path(e.EnvFile)); err != nil && !absent(err) {
			return err
		}
	}
	return env.SetStamp(e.stampKey(), "")
}

func (e *EtcdData) lost(why string) error {
	return fmt.Errorf("etcd member %q: %q is empty, but it has run before (%s): "+
		"starting it anew could lose data; reset this host, then install replaces the member", e.Name, e.Dir, why)
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

// etcdStart is how a member without data starts.
type etcdStart struct {
	environment string
	drop        []EtcdMember // to remove first
	add         bool
	reason      string
}

// start asks the other members how this one has to start. Peers that do not answer, as
// during a first installation, mean that the cluster bootstraps.
func (e *EtcdData) start(ctx context.Context, env *Env) (etcdStart, error) {
	list, err := e.members(ctx, env, e.Peers)
	if err != nil || len(e.Peers) == 0 {
		if e.Join {
			return etcdStart{}, fmt.Errorf("etcd member %q: the cluster has run before, and no other member answers; "+
				"start those with data first: %w", e.Name, err)
		}
		return etcdStart{environment: e.environment("new", e.Initial), reason: "never bootstrapped"}, nil
	}
	s := etcdStart{add: true, reason: "new to a running etcd"}
	var others []EtcdMember
	state := "existing"
	for _, m := range list {
		switch {
		case slices.Contains(m.PeerURLs, e.PeerURL) && !m.Started():
			s.add = false
			if m.Name != "" { // it was there when the cluster bootstrapped
				state, s.reason = "new", "never bootstrapped"
			}
		case slices.Contains(m.PeerURLs, e.PeerURL) || m.Name == e.Name:
			if stamp := env.Stamp(e.stampKey()); stamp == e.stampNew() || stamp == e.stampData() {
				return s, e.lost("the other members know it")
			}
			s.drop, s.reason = append(s.drop, m), "new to a running etcd, in the place of a member whose host is gone"
		default:
			others = append(others, m)
		}
	}
	initial := []string{e.Name + "=" + e.PeerURL}
	for _, m := range others {
		for _, u := range m.PeerURLs {
			initial = append(initial, e.nameOf(m, u)+"="+u)
		}
	}
	slices.Sort(initial)
	s.environment = e.environment(state, initial)
	return s, nil
}

// nameOf returns the name of a member, from the initial members if it has not started.
func (e *EtcdData) nameOf(m EtcdMember, url string) string {
	for _, i := range e.Initial {
		if name, u, _ := strings.Cut(i, "="); u == url && m.Name == "" {
			return name
		}
	}
	return cmp.Or(m.Name, m.hexID())
}

// environment returns the variables of etcd that count only for its first start.
func (e *EtcdData) environment(state string, initial []string) string {
	return fmt.Sprintf("ETCD_INITIAL_CLUSTER=%s\nETCD_INITIAL_CLUSTER_STATE=%s\nETCD_INITIAL_CLUSTER_TOKEN=%s\n",
		strings.Join(initial, ","), state, e.Token)
}
