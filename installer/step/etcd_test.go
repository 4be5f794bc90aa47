package step_test

import (
	"context"
	"os"
	"path/filepath"
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
	}
}

func TestEtcdDataSuite(t *testing.T) {
	steptest.Suite(t, steptest.Case{Name: "etcd data", World: steptest.New(t), Step: member(false)})
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
		{name: "an earlier run ended before the start", stamp: "offk8s-test new", check: step.OK},
		{name: "half bootstrapped", files: map[string]string{"member/wal.tmp/0.wal": "x", "member/snap/db": "x"}, check: step.Differs, reason: "half", wiped: true},
		{name: "empty log file", files: map[string]string{"member/wal/0.wal": ""}, check: step.Differs, reason: "half", wiped: true},
		{name: "has data", files: map[string]string{"member/wal/0.wal": "x"}, stamp: "offk8s-test data", check: step.OK, reason: "never wiped"},
		{name: "has data after a cut start", files: map[string]string{"member/wal/0.wal": "x"}, stamp: "offk8s-test new", check: step.OK, reason: "never wiped"},
		{name: "somebody else's data", files: map[string]string{"member/wal/0.wal": "x"}, refused: "did not make"},
		{name: "data of another cluster of ours", files: map[string]string{"member/wal/0.wal": "x"}, stamp: "offk8s-other data", refused: "did not make"},
		{name: "lost, the journal knows", stamp: "offk8s-test data", refused: "run before"},
		{name: "lost with the journal, peers know", peers: known, check: step.Differs, refused: "run before"},
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
