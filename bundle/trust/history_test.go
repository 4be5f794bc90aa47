package trust

import (
	"errors"
	"slices"
	"testing"
	"time"
)

var later = signTime.Add(time.Hour)

// say adds a statement of k to h.
func say(t *testing.T, h History, k *KeyPair, s Statement) History {
	t.Helper()
	s.Created = signTime
	out, err := h.Add(k, s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// next returns a statement that k comes next.
func next(k *KeyPair) Statement { return Statement{Next: string(k.PublicPEM())} }

// accepts opens content that signer signed, with the histories in the order in which the
// verifier sees them.
func accepts(t *testing.T, a Anchors, signer *KeyPair, seen ...History) error {
	t.Helper()
	for _, h := range seen {
		var err error
		if a, err = a.See(h); err != nil {
			return err
		}
	}
	sig, err := signer.SignIndex([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := VerifyIndex([]byte("x"), sig, a.Accepted())
	if err != nil {
		return err
	}
	return a.Refuse(k, later)
}

func pinned(keys ...*KeyPair) Anchors {
	var a Anchors
	for _, k := range keys {
		a.Keys = append(a.Keys, k.Public())
	}
	return a
}

func TestT06RotationAndRevocation(t *testing.T) {
	a, b, c, thief := otherKey(t), otherKey(t), otherKey(t), otherKey(t)
	toB := say(t, nil, a, next(b))
	toC := say(t, toB, b, next(c))
	revokeA := say(t, toB, b, Statement{Revoked: []string{a.Fingerprint()}})
	revokeB := say(t, toC, c, Statement{Revoked: []string{b.Fingerprint()}})
	atOnce := say(t, nil, a, Statement{Next: string(b.PublicPEM()), Revoked: []string{a.Fingerprint()}})
	ends := say(t, nil, a, Statement{Next: string(b.PublicPEM()), Until: later.Add(-time.Minute)})
	lasts := say(t, nil, a, Statement{Next: string(b.PublicPEM()), Until: later.Add(time.Minute)})
	stolen := say(t, nil, a, next(thief))
	foreign := say(t, nil, thief, Statement{Revoked: []string{a.Fingerprint()}})
	byFingerprint := Anchors{Fingerprints: []string{a.Fingerprint()}}
	for _, tc := range []struct {
		name    string
		anchors Anchors
		signer  *KeyPair
		seen    []History
		want    error
	}{
		{"old key", pinned(a), a, nil, nil},
		{"new key without the statement", pinned(a), b, nil, ErrUnknownKey},
		{"new key with the statement", pinned(a), b, []History{toB}, nil},
		{"old key after the statement", pinned(a), a, []History{toB}, nil},
		{"two steps", pinned(a), c, []History{toC}, nil},
		{"two steps from the middle", pinned(b), c, []History{toC}, nil},
		{"back from the middle", pinned(b), a, []History{toC}, ErrUnknownKey},
		{"fingerprint", byFingerprint, b, []History{toB}, nil},
		{"revoked old key", pinned(a), a, []History{revokeA}, ErrRevoked},
		{"new key, old one revoked", pinned(a), b, []History{revokeA}, nil},
		{"revoked and then the history goes back", pinned(a), a, []History{revokeA, toB}, ErrRevoked},
		{"revoked in the middle", pinned(a), b, []History{revokeB}, ErrRevoked},
		{"after the revoked one", pinned(a), c, []History{revokeB}, nil},
		{"revoked at once", pinned(a), a, []History{atOnce}, ErrRevoked},
		{"next, revoked at once", pinned(a), b, []History{atOnce}, nil},
		{"time is over", pinned(a), a, []History{ends}, ErrRevoked},
		{"time is over for the old one only", pinned(a), b, []History{ends}, nil},
		{"time is not over", pinned(a), a, []History{lasts}, nil},
		{"stolen key, nothing seen", pinned(a), thief, []History{stolen}, nil},
		{"stolen key, the true history seen", pinned(a), thief, []History{toB, stolen}, ErrHistory},
		{"stolen key, the new one pinned", pinned(b), thief, []History{revokeA, stolen}, ErrUnknownKey},
		{"recovered by pinning the new one", pinned(b), b, []History{stolen, toB}, nil},
		{"stranger revokes", pinned(a), a, []History{foreign}, nil},
		{"other trusted key revokes", pinned(a, thief), a, []History{foreign}, ErrRevoked},
		{"revoked elsewhere, then names a next one", pinned(a, thief), b, []History{foreign, toB}, ErrUnknownKey},
	} {
		if err := accepts(t, tc.anchors, tc.signer, tc.seen...); !errors.Is(err, tc.want) || tc.want == nil && err != nil {
			t.Errorf("%s: error %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestT06ForgedHistories(t *testing.T) {
	a, b, c := otherKey(t), otherKey(t), otherKey(t)
	good := say(t, say(t, say(t, nil, a, next(b)), b, next(c)), c, Statement{Revoked: []string{a.Fingerprint()}})
	sign := func(h History, i int, k *KeyPair) {
		payload, err := h[i].payload()
		if err != nil {
			t.Fatal(err)
		}
		if h[i].Signature, err = k.SignIndex(payload); err != nil {
			t.Fatal(err)
		}
	}
	for name, forge := range map[string]func(h History) History{
		"a step is left out":       func(h History) History { return slices.Delete(h, 1, 2) },
		"the first is left out":    func(h History) History { return h[1:] },
		"two steps swapped":        func(h History) History { h[0], h[1] = h[1], h[0]; return h },
		"next key replaced":        func(h History) History { h[1].Next = h[0].Signer; return h },
		"revoked key replaced":     func(h History) History { h[2].Revoked = []string{b.Fingerprint()}; return h },
		"no signature":             func(h History) History { h[2].Signature = nil; return h },
		"signed by a former key":   func(h History) History { h[2].Signer = h[0].Signer; sign(h, 2, a); return h },
		"signature of another key": func(h History) History { sign(h, 2, a); return h },
		"revokes the current key":  func(h History) History { h[2].Revoked = []string{c.Fingerprint()}; sign(h, 2, c); return h },
		"comes a second time":      func(h History) History { h[2].Next = h[0].Signer; sign(h, 2, c); return h },
		"says nothing":             func(h History) History { h[2].Revoked = nil; sign(h, 2, c); return h },
		"no fingerprint":           func(h History) History { h[2].Revoked = []string{"x"}; sign(h, 2, c); return h },
		"other kind":               func(h History) History { h[2].Kind = "Parts"; sign(h, 2, c); return h },
		"without end":              func(h History) History { return slices.Repeat(h, maxStatements) },
	} {
		forged := forge(slices.Clone(good))
		if _, err := pinned(a).See(forged); !errors.Is(err, ErrHistory) {
			t.Errorf("%s: error %v, want ErrHistory", name, err)
		}
	}
	if _, err := pinned(a).See(good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestHistoriesAreKept(t *testing.T) {
	a, b := otherKey(t), otherKey(t)
	h := say(t, nil, a, next(b))
	text, err := EncodeHistories([]History{h})
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeHistories(text)
	if err != nil || len(again) != 1 {
		t.Fatalf("read back: %v, %v", again, err)
	}
	if err := accepts(t, Anchors{Keys: pinned(a).Keys, Histories: again}, b, h); err != nil {
		t.Error(err)
	}
	if _, err := DecodeHistories([]byte(`{"apiVersion":"x","kind":"y","histories":[]}`)); err == nil {
		t.Error("read another document")
	}
	if none, err := DecodeHistories(nil); err != nil || none != nil {
		t.Errorf("of nothing: %v, %v", none, err)
	}
}
