package agent_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/installer/agent"
)

func TestT06HostsRemember(t *testing.T) {
	w := newWorld(t, 1)
	old := w.b.Key
	next := bundletest.Successor(t, old, trust.Statement{Revoked: []string{old.Fingerprint()}})
	run := func(mode agent.Mode, key *trust.KeyPair, sequence int64, histories string) error {
		w.b.Key = key
		w.serve(sequence)
		w.bundle.PublicKeys, w.bundle.Histories = string(old.PublicPEM()), histories
		_, err := w.do(w.request(mode))
		return err
	}
	refused := func(when string, err error) {
		t.Helper()
		if !errors.Is(err, agent.ErrPolicy) || !strings.Contains(err.Error(), "revoked key: "+old.Fingerprint()) {
			t.Errorf("%s: error %v, want ErrPolicy with the fingerprint", when, err)
		}
	}
	if err := run(agent.ModeCheck, next, 2, ""); err != nil {
		t.Fatalf("a dry run with the new key: %v", err)
	}
	if err := run(agent.ModeApply, old, 3, ""); err != nil {
		t.Fatalf("the old key, after a dry run only: %v", err)
	}
	known, err := trust.EncodeHistories([]trust.History{next.History})
	if err != nil {
		t.Fatal(err)
	}
	refused("the operator knows", run(agent.ModeApply, old, 4, string(known)))
	if err := run(agent.ModeApply, next, 5, ""); err != nil {
		t.Fatalf("the new key: %v", err)
	}
	refused("the host remembers", run(agent.ModeApply, old, 6, ""))
	refused("the host remembers, in a dry run", run(agent.ModeCheck, old, 7, ""))
	mute := *next
	mute.History = nil
	if err := run(agent.ModeApply, &mute, 8, ""); err != nil {
		t.Errorf("the new key without its statement, which the host remembers: %v", err)
	}
	stolen := bundletest.Successor(t, old, trust.Statement{})
	if err := run(agent.ModeApply, stolen, 9, ""); !errors.Is(err, agent.ErrVerify) || !strings.Contains(err.Error(), "bad history") {
		t.Errorf("another history of the old key: %v", err)
	}

	w.b.Key = old
	w.serve(1)
	w.bundle.Histories = string(known)
	if _, err := agent.OpenRemote(t.Context(), w.bundle, w.mirror); !errors.Is(err, trust.ErrRevoked) || !errors.Is(err, agent.ErrPolicy) {
		t.Errorf("on the operator's side: %v", err)
	}
	w.b.Key = next
	w.serve(2)
	w.bundle.PublicKeys = string(old.PublicPEM())
	got, err := agent.OpenRemote(t.Context(), w.bundle, w.mirror)
	if err != nil || got.Histories != string(known) {
		t.Errorf("the operator learns %q, %v", got.Histories, err)
	}
}
