package bundle_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/trust"
)

func TestT06Bundles(t *testing.T) {
	old := bundletest.Key(t)
	next := bundletest.Successor(t, old, trust.Statement{Revoked: []string{old.Fingerprint()}})
	mute, forged := *next, *next
	mute.History = nil
	forged.History = slices.Clone(next.History)
	forged.History[0].Revoked = nil
	seal := func(k *trust.KeyPair) []byte {
		b := bundletest.New(t)
		b.AddSmall(t)
		b.Key = k
		return b.Bytes(t)
	}
	open := func(content []byte, o bundle.OpenOptions) (*bundle.Bundle, error) {
		return bundle.OpenReader(t.Context(), bytes.NewReader(content), int64(len(content)), o)
	}
	for name, o := range map[string]bundle.OpenOptions{
		"key": bundletest.Options(old), "fingerprint": {Fingerprints: []string{old.Fingerprint()}},
	} {
		b, err := open(seal(next), o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if signer, ok := b.Signer(); !ok || !signer.Equal(next.Public()) || !b.Successor() || len(b.Histories()) != 1 {
			t.Errorf("%s: signer %v, %v, successor %v, %d histories", name, signer, ok, b.Successor(), len(b.Histories()))
		}
		if _, err := open(seal(&mute), o); !errors.Is(err, trust.ErrUnknownKey) || !errors.Is(err, bundle.ErrVerify) {
			t.Errorf("%s: without the statement: %v", name, err)
		}
		if _, err := open(seal(&forged), o); err == nil || !errors.Is(err, bundle.ErrVerify) || errors.Is(err, bundle.ErrPolicy) {
			t.Errorf("%s: with a forged statement: %v", name, err)
		}
		if _, err := open(seal(old), o); err != nil {
			t.Errorf("%s: the old key, before its revocation was seen: %v", name, err)
		}
		o.Histories = b.Histories()
		if _, err := open(seal(old), o); !errors.Is(err, trust.ErrRevoked) || !errors.Is(err, bundle.ErrPolicy) {
			t.Errorf("%s: the old key, after its revocation was seen: %v", name, err)
		}
	}
	b, err := open(seal(next), bundletest.Options(next))
	if err != nil || b.Successor() {
		t.Errorf("with the new key: %v", err)
	}
}
