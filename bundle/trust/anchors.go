package trust

import (
	"fmt"
	"slices"
	"time"
)

// Anchors are the trust of a verifier: the keys that it trusts by itself, and the
// histories of keys that it has seen. They decide which keys it accepts.
type Anchors struct {
	Keys         []PublicKey
	Fingerprints []string // of more keys, as PublicKey.Fingerprint returns them
	// Histories are those that were seen before, each with the most statements.
	Histories []History
}

// Pins reports whether the verifier trusts k by itself.
func (a Anchors) Pins(k PublicKey) bool {
	return slices.ContainsFunc(a.Keys, k.Equal) || slices.Contains(a.Fingerprints, k.Fingerprint())
}

// start returns the index of the first key in chain that the verifier trusts by itself,
// -1 if there is none.
func (a Anchors) start(chain []PublicKey) int { return slices.IndexFunc(chain, a.Pins) }

// See returns a with h among its histories. A history in which the verifier trusts no key
// is not added, and takes no place of another one. The error is ErrHistory if h is bad, or
// contradicts one that was seen: then a key was stolen, or used by two people.
func (a Anchors) See(h History) (Anchors, error) {
	chain, err := h.Keys()
	if err != nil || a.start(chain) < 0 {
		return a, err
	}
	a.Histories = slices.Clone(a.Histories)
	for i, seen := range a.Histories {
		known, err := seen.Keys()
		if err != nil {
			return a, err
		}
		if !known[0].Equal(chain[0]) || a.start(known) < 0 {
			continue
		}
		for n := range min(len(seen), len(h)) {
			was, err := seen[n].digest()
			if err != nil {
				return a, err
			}
			if is, err := h[n].digest(); err != nil || was != is {
				return a, fmt.Errorf("%w: statement %d of the key %s is %s, seen before was %s", ErrHistory, n+1, chain[0], is, was)
			}
		}
		if len(h) > len(seen) {
			a.Histories[i] = h
		}
		return a, nil
	}
	// One of the same key that the verifier no longer trusts makes room.
	a.Histories = slices.DeleteFunc(a.Histories, func(seen History) bool {
		known, err := seen.Keys()
		return err != nil || known[0].Equal(chain[0])
	})
	a.Histories = append(a.Histories, h)
	return a, nil
}

// Accepted returns the keys that a accepts: those that it trusts by itself, as far as they
// are known, and those that came after one of them. Revoked ones are among them; Refuse
// refuses them.
func (a Anchors) Accepted() []PublicKey {
	out := slices.Clone(a.Keys)
	for _, h := range a.Histories {
		chain, err := h.Keys()
		if err != nil {
			continue
		}
		if i := a.start(chain); i >= 0 && !a.endedElsewhere(h, chain[i]) {
			for _, k := range chain[i:] {
				if !slices.ContainsFunc(out, k.Equal) {
					out = append(out, k)
				}
			}
		}
	}
	return out
}

// endedElsewhere reports whether a history other than h revokes k: its holder may have
// made the rest of h.
func (a Anchors) endedElsewhere(h History, k PublicKey) bool {
	return slices.ContainsFunc(a.Histories, func(other History) bool {
		return other[0].Signer != h[0].Signer && a.revokes(other, k.Fingerprint(), time.Time{}) != nil
	})
}

// Refuse returns an ErrRevoked if k was revoked, or its time was over before now.
func (a Anchors) Refuse(k PublicKey, now time.Time) error {
	for _, h := range a.Histories {
		s := a.revokes(h, k.Fingerprint(), now)
		switch {
		case s == nil:
		case slices.Contains(s.Revoked, k.Fingerprint()):
			return fmt.Errorf("%w: %s, since %s", ErrRevoked, k, s.Created.Format(time.DateOnly))
		default:
			return fmt.Errorf("%w: %s was replaced and ended at %s, the clock of this machine says %s",
				ErrRevoked, k, s.Until.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// revokes returns the statement of h that ends the key with this fingerprint, nil if none
// does. Statements by keys before the first one that the verifier trusts do not count.
func (a Anchors) revokes(h History, fingerprint string, now time.Time) *Statement {
	chain, err := h.Keys()
	if err != nil {
		return nil
	}
	start := a.start(chain)
	if start < 0 {
		return nil
	}
	at := 0
	for i := range h {
		s := &h[i]
		over := s.Next != "" && !s.Until.IsZero() && now.After(s.Until) && chain[at].Fingerprint() == fingerprint
		if at >= start && (slices.Contains(s.Revoked, fingerprint) || over) {
			return s
		}
		if s.Next != "" {
			at++
		}
	}
	return nil
}
