package trust

import (
	"bytes"
	"crypto"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// changedKey returns the key with its public half changed by change.
func changedKey(t *testing.T, change func(*openpgp.Entity)) (*KeyPair, *Keyring) {
	t.Helper()
	key, _ := newKey(t)
	list, err := openpgp.ReadKeyRing(bytes.NewReader(key.OpenPGP))
	if err != nil {
		t.Fatal(err)
	}
	change(list[0])
	var public bytes.Buffer
	if err := list[0].Serialize(&public); err != nil {
		t.Fatal(err)
	}
	ring, err := ReadKeyring(public.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return key, ring
}

// selfSign replaces the self-signature by one made at the given time.
func selfSign(t *testing.T, e *openpgp.Entity, at time.Time, lifetime time.Duration) {
	t.Helper()
	config := openPGPConfig(at)
	config.KeyLifetimeSecs = uint32(lifetime / time.Second)
	e.Identities = map[string]*openpgp.Identity{}
	if err := e.AddUserId("changed", "", "", config); err != nil {
		t.Fatal(err)
	}
}

func TestT21ExpiredAndRevokedKeys(t *testing.T) {
	day := 24 * time.Hour
	expired, expiredRing := changedKey(t, func(e *openpgp.Entity) { selfSign(t, e, signTime, 10*day) })
	renewed, renewedRing := changedKey(t, func(e *openpgp.Entity) { selfSign(t, e, signTime.Add(30*day), 0) })
	gone, goneRing := changedKey(t, func(e *openpgp.Entity) {
		if err := e.Revoke(packet.KeySuperseded, "", openPGPConfig(signTime.Add(20*day))); err != nil {
			t.Fatal(err)
		}
	})
	for _, tc := range []struct {
		name   string
		key    *KeyPair
		ring   *Keyring
		signed time.Time
		good   bool
	}{
		{"signed before the key expired", expired, expiredRing, signTime.Add(5 * day), true},
		{"signed after the key expired", expired, expiredRing, signTime.Add(15 * day), false},
		{"signed before the key was renewed", renewed, renewedRing, signTime.Add(5 * day), true},
		{"signed before the key was made", renewed, renewedRing, signTime.Add(-day), false},
		{"signed before the key was revoked", gone, goneRing, signTime.Add(5 * day), false},
		{"signed after the key was revoked", gone, goneRing, signTime.Add(25 * day), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			header := rpmTestHeader([]rpmTestEntry{stringsEntry(1000, "x")})
			blob := signV3(t, tc.key, append(bytes.Clone(header), "payload"...), tc.signed, crypto.SHA256)
			file := rpmTestFile([]rpmTestEntry{{rpmSigTagPGP, typeBin, len(blob), blob}}, header, []byte("payload"))
			_, err := verifyBytes(tc.ring, file)
			if (err == nil) != tc.good {
				t.Fatalf("error %v, want good: %t", err, tc.good)
			}
			if err != nil && !errors.Is(err, ErrBadSignature) {
				t.Fatalf("error %v, want ErrBadSignature", err)
			}
			sig, err := SignDetached(tc.key, []byte("x"), tc.signed)
			if err != nil {
				return // go-crypto does not sign with a key that is not valid at that time
			}
			if _, err = VerifyDetached(tc.ring, strings.NewReader("x"), sig); (err == nil) != tc.good {
				t.Fatalf("detached: error %v, want good: %t", err, tc.good)
			}
		})
	}
}

func TestReadKeyring(t *testing.T) {
	a, ringA := newKey(t)
	b, ringB := newKey(t)
	both, err := ReadKeyring(append(bytes.Clone(a.OpenPGPPublic), b.OpenPGPPublic...))
	if err != nil {
		t.Fatal(err)
	}
	if got := len(both.Fingerprints()); got != 2 {
		t.Fatalf("%d keys of two armoured blocks in one file, want 2", got)
	}
	merged, err := ReadKeyring(a.OpenPGPPublic, b.OpenPGPPublic)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{ringA.Fingerprints()[0], ringB.Fingerprints()[0]}
	for _, fpr := range want {
		if !strings.Contains(strings.Join(merged.Fingerprints(), " "), fpr) {
			t.Fatalf("keys %q lack %q", merged.Fingerprints(), fpr)
		}
	}
	for name, file := range map[string][]byte{
		"empty":       nil,
		"text":        []byte("hello"),
		"private key": a.OpenPGP,
		"cut":         a.OpenPGPPublic[:200],
	} {
		if _, err := ReadKeyring(file); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
