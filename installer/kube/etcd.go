package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// EtcdData looks at a member's data before etcd is started for the first time
// and tells four cases apart:
//
//   - never bootstrapped: nothing there, no peer knows the member: start it;
//   - half bootstrapped: a start was cut short before the write-ahead log held
//     anything, so the rest is wiped and it starts anew;
//   - has data: never touched; refused when offk8s did not put it there;
//   - lost: nothing there although this member ran before. Starting it as a new
//     one could lose acknowledged writes, so a person has to replace it.
type EtcdData struct {
	Dir   string `json:"dir"`
	Name  string `json:"name"`  // of the member
	Token string `json:"token"` // of the cluster, --initial-cluster-token
	// Peers are the client URLs of the other members.
	Peers []string `json:"peers,omitempty"`
	// PeerURL is the member's own, as in the initial cluster.
	PeerURL string `json:"peerURL"`
	CAFile  string `json:"caFile"`
	Cert    string `json:"cert"`
	Key     string `json:"key"`
	// Started is set on the look after the first start: it remembers that the
	// member has data from now on.
	Started bool `json:"started,omitempty"`
}

// Kind returns "etcd-data".
func (*EtcdData) Kind() string { return "etcd-data" }

// Describe names the member.
func (e *EtcdData) Describe() string {
	return fmt.Sprintf("data of etcd member %s is its own or not there yet", e.Name)
}

// Validate checks paths and names.
func (e *EtcdData) Validate() error {
	errs := []error{checkName("name", e.Name), checkName("token", e.Token)}
	for _, p := range []string{e.Dir, e.CAFile, e.Cert, e.Key} {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p || p == "/" {
			errs = append(errs, fmt.Errorf("path %q: want a clean absolute path", p))
		}
	}
	return errors.Join(errs...)
}

func (e *EtcdData) stampKey() string { return "etcd/" + e.Name }

// The stamp's values: the member may bootstrap, or it has.
func (e *EtcdData) stampNew() string  { return e.Token + " new" }
func (e *EtcdData) stampData() string { return e.Token + " data" }

// Check finds out which case it is; it changes nothing.
func (e *EtcdData) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	state, err := e.state(env)
	if err != nil {
		return step.Result{}, err
	}
	stamp := env.Stamp(e.stampKey())
	ours := stamp == e.stampNew() || stamp == e.stampData()
	switch {
	case e.Started && stamp != e.stampData():
		return step.Result{State: step.Differs, Reason: "not known to have data yet"}, nil
	case state == dataWhole && ours:
		return step.Result{State: step.OK, Reason: "has data, never wiped"}, nil
	case state == dataWhole:
		return step.Result{}, fmt.Errorf("etcd member %q: %q holds the data of an etcd that offk8s did not make; "+
			"move it away if it is not needed any more", e.Name, e.Dir)
	case stamp == e.stampData():
		return step.Result{}, e.lost("its journal says so")
	case state == dataHalf:
		return step.Result{State: step.Differs, Reason: "half bootstrapped, safe to wipe"}, nil
	case ours && e.ranBefore(ctx, env):
		return step.Result{}, e.lost("the other members know it")
	case ours: // an earlier run ended before etcd was started
		return step.Result{State: step.OK, Reason: "never bootstrapped"}, nil
	}
	return step.Result{State: step.Differs, Reason: "never bootstrapped"}, nil
}

// Apply wipes a half bootstrapped member and remembers that data that comes
// from now on is ours.
func (e *EtcdData) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	state, err := e.state(env)
	if err != nil {
		return step.Result{}, err
	}
	if e.Started {
		if state != dataWhole {
			return step.Result{}, fmt.Errorf("etcd member %q: %q has no data after the start", e.Name, e.Dir)
		}
		return step.Result{State: step.Verified, Reason: "has data"}, env.SetStamp(e.stampKey(), e.stampData())
	}
	if state == dataWhole {
		return step.Result{}, fmt.Errorf("etcd member %q: %q has data, never wiped", e.Name, e.Dir)
	}
	if e.ranBefore(ctx, env) {
		return step.Result{}, e.lost("the other members know it")
	}
	if state == dataHalf {
		if err := os.RemoveAll(filepath.Join(env.Root, e.Dir, "member")); err != nil {
			return step.Result{}, fmt.Errorf("etcd member %q: %w", e.Name, err)
		}
	}
	if err := env.SetStamp(e.stampKey(), e.stampNew()); err != nil {
		return step.Result{}, err
	}
	return step.Result{State: step.Changed, Reason: "may bootstrap"}, nil
}

// Undo forgets the member, so that a later install may bootstrap it again; the
// data folder belongs to another step.
func (e *EtcdData) Undo(_ context.Context, env *step.Env, _ json.RawMessage) error {
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

// state reads the data folder. etcd writes member/wal first (as wal.tmp, renamed
// when whole) and member/snap/db before; only a log file with content counts.
func (e *EtcdData) state(env *step.Env) (dataState, error) {
	member := filepath.Join(env.Root, e.Dir, "member")
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

// ranBefore asks the other members whether this one has ever announced itself:
// a member that never started has no client URLs in their list. Peers that do
// not answer, as at a first install, know nothing.
func (e *EtcdData) ranBefore(ctx context.Context, env *step.Env) bool {
	if len(e.Peers) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := env.Run.Run(ctx, step.Cmd{
		Argv: []string{
			Etcdctl, "--endpoints", strings.Join(e.Peers, ","), "--cacert", e.CAFile, "--cert", e.Cert, "--key", e.Key,
			"--dial-timeout", "2s", "--command-timeout", "4s", "member", "list", "-w", "json",
		},
		Env: []string{"ETCDCTL_API=3"},
	})
	if err != nil {
		return false
	}
	var list struct {
		Members []struct {
			PeerURLs   []string `json:"peerURLs"`
			ClientURLs []string `json:"clientURLs"`
		} `json:"members"`
	}
	if err := json.Unmarshal(out.Stdout, &list); err != nil {
		return false
	}
	for _, m := range list.Members {
		if slices.Contains(m.PeerURLs, e.PeerURL) && len(m.ClientURLs) > 0 {
			return true
		}
	}
	return false
}
