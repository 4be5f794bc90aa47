package step_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

var etcdClient = step.EtcdClient{CAFile: "/etc/etcd/pki/ca.crt", Cert: "/etc/etcd/pki/client.crt", Key: "/etc/etcd/pki/client.key"}

func member(started bool) *step.EtcdData {
	return &step.EtcdData{
		Dir: "/var/lib/etcd", Name: "cp-1", Token: "offk8s-test", PeerURL: "https://10.0.0.11:2380",
		Peers: []string{"https://10.0.0.12:2379"}, EtcdClient: etcdClient, Started: started,
		Initial: []string{"cp-1=https://10.0.0.11:2380", "b=https://10.0.0.12:2380"}, EnvFile: "/etc/etcd/first-start.env",
	}
}

func TestEtcdDataSuite(t *testing.T) {
	w := steptest.New(t)
	if err := os.MkdirAll(filepath.Join(w.Root, "/etc/etcd"), 0o700); err != nil {
		t.Fatal(err)
	}
	steptest.Suite(t, steptest.Case{Name: "etcd data", World: w, Step: member(false)})
	if (&step.EtcdData{Name: "x", Token: "t", Dir: "/"}).Validate() == nil {
		t.Error("the root directory is accepted")
	}
}

// Data is never bootstrapped over, whatever state a host is in.
func TestT65EtcdData(t *testing.T) {
	const known = `{"members":[{"name":"cp-1","peerURLs":["https://10.0.0.11:2380"],"clientURLs":["https://10.0.0.11:2379"]}]}`
	const waiting = `{"members":[{"name":"cp-1","peerURLs":["https://10.0.0.11:2380"]},{"name":"b","peerURLs":["https://10.0.0.12:2380"],"clientURLs":["x"]}]}`
	tests := []struct {
		name    string
		files   map[string]string
		stamp   string
		peers   string // what a peer's etcdctl member list prints; empty: no answer
		check   step.State
		reason  string
		refused string // by Check or Apply
		wiped   bool
	}{
		{name: "never bootstrapped", check: step.Differs, reason: "never bootstrapped"},
		{name: "peers wait for it", peers: waiting, check: step.Differs, reason: "never bootstrapped"},
		{name: "an earlier run ended before the start", stamp: "offk8s-test new", check: step.Differs, reason: "never bootstrapped"},
		{name: "half bootstrapped", files: map[string]string{"member/wal.tmp/0.wal": "x", "member/snap/db": "x"}, check: step.Differs, reason: "half", wiped: true},
		{name: "empty log file", files: map[string]string{"member/wal/0.wal": ""}, check: step.Differs, reason: "half", wiped: true},
		{name: "has data", files: map[string]string{"member/wal/0.wal": "x"}, stamp: "offk8s-test data", check: step.OK, reason: "never wiped"},
		{name: "has data after a cut start", files: map[string]string{"member/wal/0.wal": "x"}, stamp: "offk8s-test new", check: step.OK, reason: "never wiped"},
		{name: "somebody else's data", files: map[string]string{"member/wal/0.wal": "x"}, refused: "did not make"},
		{name: "data of another cluster of ours", files: map[string]string{"member/wal/0.wal": "x"}, stamp: "offk8s-other data", refused: "did not make"},
		{name: "lost, the journal knows", stamp: "offk8s-test data", refused: "run before"},
		{name: "lost after it was bootstrapped, peers know", stamp: "offk8s-test new", peers: known, refused: "run before"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := steptest.New(t)
			for f, content := range tt.files {
				w.Write(t, "/var/lib/etcd/"+f, content, 0o600)
			}
			w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
				if tt.peers == "" {
					return steptest.Exit(c.Argv, 1, "context deadline exceeded")
				}
				return steptest.Say(tt.peers)
			}
			env := w.Env()
			if err := env.SetStamp("etcd/cp-1", tt.stamp); err != nil {
				t.Fatal(err)
			}
			before := w.Tree(t)
			e := member(false)
			res, err := e.Check(t.Context(), env)
			if err == nil && (res.State != tt.check || !strings.Contains(res.Reason, tt.reason)) {
				t.Fatalf("check: %+v, want %s %q", res, tt.check, tt.reason)
			}
			if err == nil && res.State == step.Differs {
				_, err = e.Apply(t.Context(), env)
			}
			if (err != nil) != (tt.refused != "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
				t.Fatalf("error %v, want %q", err, tt.refused)
			}
			_, statErr := os.Stat(filepath.Join(w.Root, "/var/lib/etcd/member"))
			if gone := len(tt.files) > 0 && os.IsNotExist(statErr); gone != tt.wiped {
				t.Errorf("wiped: %t, want %t", gone, tt.wiped)
			}
			if tt.refused != "" && len(before) != len(w.Tree(t)) {
				t.Error("a refused step changed files")
			}
		})
	}
}

// A member without data joins an etcd that runs; it never bootstraps beside it.
func TestEtcdJoins(t *testing.T) {
	const (
		self   = "https://10.0.0.11:2380"
		b      = `{"ID":11,"name":"b","peerURLs":["https://10.0.0.12:2380"],"clientURLs":["https://10.0.0.12:2379"]}`
		static = "ETCD_INITIAL_CLUSTER=b=https://10.0.0.12:2380,cp-1=" + self + "\nETCD_INITIAL_CLUSTER_STATE=new\nETCD_INITIAL_CLUSTER_TOKEN=offk8s-test\n"
		joined = "ETCD_INITIAL_CLUSTER=b=https://10.0.0.12:2380,cp-1=" + self + "\nETCD_INITIAL_CLUSTER_STATE=existing\nETCD_INITIAL_CLUSTER_TOKEN=offk8s-test\n"
	)
	tests := []struct {
		name    string
		peers   string // members beside b
		silent  bool
		refuse  []string // answers to the first calls of add
		join    bool
		learner bool
		env     string
		calls   []string
		refused string
	}{
		{name: "unknown", env: joined, calls: []string{"add cp-1 --peer-urls=" + self}},
		{name: "unknown, as a learner", learner: true, env: joined, calls: []string{"add cp-1 --peer-urls=" + self + " --learner"}},
		{name: "added by a run that was cut", peers: `{"ID":10,"peerURLs":["` + self + `"]}`, env: joined},
		{name: "waited for since the first start", peers: `{"ID":10,"name":"cp-1","peerURLs":["` + self + `"]}`, env: static},
		{
			name: "its host was replaced", peers: `{"ID":10,"name":"cp-1","peerURLs":["` + self + `"],"clientURLs":["x"]}`,
			env: joined, calls: []string{"remove a", "add cp-1 --peer-urls=" + self},
		},
		{
			name: "its host has another address", peers: `{"ID":10,"name":"cp-1","peerURLs":["https://10.9.9.9:2380"],"clientURLs":["x"]}`,
			env: joined, calls: []string{"remove a", "add cp-1 --peer-urls=" + self},
		},
		{
			name: "another member joined a moment ago", env: joined,
			refuse: []string{"Error: etcdserver: re-configuration failed due to not enough started members", "Error: etcdserver: unhealthy cluster"},
			calls:  []string{"add cp-1 --peer-urls=" + self, "add cp-1 --peer-urls=" + self, "add cp-1 --peer-urls=" + self},
		},
		{
			name: "nobody knows whether it was added", refuse: []string{"Error: context deadline exceeded"},
			calls: []string{"add cp-1 --peer-urls=" + self}, refused: "deadline exceeded",
		},
		{name: "nobody answers, first start", silent: true, env: "ETCD_INITIAL_CLUSTER=cp-1=" + self + ",b=https://10.0.0.12:2380\nETCD_INITIAL_CLUSTER_STATE=new\nETCD_INITIAL_CLUSTER_TOKEN=offk8s-test\n"},
		{name: "nobody answers, but etcd has run", silent: true, join: true, refused: "has run before"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := steptest.New(t)
			members := []string{b}
			if tt.peers != "" {
				members = append(members, tt.peers)
			}
			var calls []string
			w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
				_, call, _ := strings.Cut(strings.Join(c.Argv, " "), "member ")
				switch verb, _, _ := strings.Cut(call, " "); {
				case tt.silent:
					return steptest.Exit(c.Argv, 1, "context deadline exceeded")
				case verb == "list":
					return steptest.Say(`{"members":[` + strings.Join(members, ",") + `]}`)
				case verb == "remove":
					members = members[:1]
				case verb == "add" && len(tt.refuse) > 0:
					calls = append(calls, call)
					answer := tt.refuse[0]
					tt.refuse = tt.refuse[1:]
					return steptest.Exit(c.Argv, 1, answer)
				case verb == "add":
					members = append(members, `{"ID":12,"peerURLs":["`+self+`"]}`)
				}
				calls = append(calls, call)
				return steptest.Say("")
			}
			env := w.Env()
			e := member(false)
			e.Join, e.Learner = tt.join, tt.learner
			_, err := e.Apply(t.Context(), env)
			if (err != nil) != (tt.refused != "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
				t.Fatalf("error %v, want %q", err, tt.refused)
			}
			if !slices.Equal(calls, tt.calls) {
				t.Errorf("etcdctl member: %q, want %q", calls, tt.calls)
			}
			have, _ := os.ReadFile(filepath.Join(w.Root, e.EnvFile))
			if string(have) != tt.env {
				t.Errorf("environment:\n%s\nwant:\n%s", have, tt.env)
			}
			if res, err := e.Check(t.Context(), env); tt.refused == "" && (err != nil || res.State != step.OK) {
				t.Errorf("check after: %+v, %v", res, err)
			}
		})
	}
}

// A learner gets its vote once it has caught up.
func TestEtcdPromote(t *testing.T) {
	w := steptest.New(t)
	learner, tries := true, 0
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		_, call, _ := strings.Cut(strings.Join(c.Argv, " "), "member ")
		if call == "promote a" {
			if tries++; tries < 3 {
				return steptest.Exit(c.Argv, 1, "can only promote a learner member which is in sync with leader")
			}
			learner = false
			return steptest.Say("")
		}
		return steptest.Say(fmt.Sprintf(`{"members":[{"ID":10,"name":"cp-1","isLearner":%t,"peerURLs":["https://10.0.0.11:2380"],"clientURLs":["x"]}]}`, learner))
	}
	p := &step.EtcdPromote{EtcdClient: etcdClient, Name: "cp-1", PeerURL: "https://10.0.0.11:2380", Peers: []string{"https://10.0.0.12:2379"}}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	if res, err := p.Check(t.Context(), w.Env()); err != nil || res.State != step.Differs {
		t.Errorf("a learner: %+v, %v", res, err)
	}
	if _, err := p.Apply(t.Context(), w.Env()); err != nil || tries != 3 {
		t.Errorf("promoted after %d tries, error %v", tries, err)
	}
	if res, err := p.Check(t.Context(), w.Env()); err != nil || res.State != step.OK {
		t.Errorf("a voter: %+v, %v", res, err)
	}
}

// Members that are not wanted leave only if the others have a quorum.
func TestEtcdLeaves(t *testing.T) {
	const list = `{"members":[{"ID":10,"name":"a","peerURLs":["https://10.0.0.11:2380"],"clientURLs":["x"]},` +
		`{"ID":11,"name":"b","peerURLs":["https://10.0.0.12:2380"],"clientURLs":["x"]},` +
		`{"ID":12,"name":"c","peerURLs":["https://10.0.0.13:2380"],"clientURLs":["x"]}]}`
	for _, tt := range []struct {
		name    string
		healthy int // of a and b, which stay
		removed string
	}{
		{"both are healthy", 2, "remove c"},
		{"one is not", 1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := steptest.New(t)
			removed, asked := "", 0
			w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
				all := strings.Join(c.Argv, " ")
				_, call, _ := strings.Cut(all, "member ")
				switch {
				case strings.HasSuffix(all, "endpoint health"):
					if asked++; asked > tt.healthy {
						return steptest.Exit(c.Argv, 1, "unhealthy")
					}
				case strings.HasPrefix(call, "remove"):
					removed = call
				default:
					return steptest.Say(list)
				}
				return steptest.Say("")
			}
			l := &step.EtcdLeave{
				EtcdClient: etcdClient, PeerURLs: []string{"https://10.0.0.13:2380"},
				Stay: []string{"https://10.0.0.11:2379", "https://10.0.0.12:2379"},
			}
			if err := l.Validate(); err != nil {
				t.Fatal(err)
			}
			_, err := l.Apply(t.Context(), w.Env())
			if removed != tt.removed || (err == nil) != (tt.removed != "") {
				t.Errorf("removed %q, error %v; want %q", removed, err, tt.removed)
			}
		})
	}
}

// The removal of a leader makes etcd refuse the next one for a moment.
func TestEtcdLeavesOneByOne(t *testing.T) {
	w := steptest.New(t)
	var removed []string
	refuse := 0
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		all := strings.Join(c.Argv, " ")
		_, call, _ := strings.Cut(all, "member ")
		switch {
		case strings.HasSuffix(all, "endpoint health"):
		case strings.HasPrefix(call, "remove") && refuse > 0:
			refuse--
			return steptest.Exit(c.Argv, 1, "etcdserver: no leader")
		case strings.HasPrefix(call, "remove"):
			removed, refuse = append(removed, call), 2
		default:
			return steptest.Say(`{"members":[{"ID":10,"name":"a","peerURLs":["p1"],"clientURLs":["x"]},` +
				`{"ID":11,"name":"b","peerURLs":["p2"],"clientURLs":["x"]},{"ID":12,"name":"c","peerURLs":["p3"],"clientURLs":["x"]}]}`)
		}
		return steptest.Say("")
	}
	l := &step.EtcdLeave{EtcdClient: etcdClient, PeerURLs: []string{"p1", "p2", "gone"}, Stay: []string{"https://10.0.0.13:2379"}}
	if _, err := l.Apply(t.Context(), w.Env()); err != nil || !slices.Equal(removed, []string{"remove a", "remove b"}) {
		t.Errorf("removed %q, error %v", removed, err)
	}
}

// After the first start the member is known to have data, so that losing it shows.
func TestEtcdStarted(t *testing.T) {
	w := steptest.New(t)
	env := w.Env()
	if _, err := member(false).Apply(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	if _, err := member(true).Apply(t.Context(), env); err == nil {
		t.Error("no data after the start is not noticed")
	}
	w.Write(t, "/var/lib/etcd/member/wal/0.wal", "x", 0o600)
	if _, err := member(true).Apply(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	for _, started := range []bool{false, true} {
		if res, err := member(started).Check(t.Context(), env); err != nil || res.State != step.OK {
			t.Errorf("started %t: %+v, %v", started, res, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(w.Root, "/var/lib/etcd/member")); err != nil {
		t.Fatal(err)
	}
	if _, err := member(false).Check(t.Context(), env); err == nil {
		t.Error("lost data is not noticed")
	}
}
