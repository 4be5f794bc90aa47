package trust

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/offk8s/offk8s/test/testenv"
)

var signTime = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// newKey returns a fresh repository key with its keyring.
func newKey(t testing.TB) (*KeyPair, *Keyring) {
	t.Helper()
	private, public, err := generateOpenPGP(signTime)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := ReadKeyring(public)
	if err != nil {
		t.Fatal(err)
	}
	return &KeyPair{OpenPGP: private, OpenPGPPublic: public}, ring
}

func TestSignaturesAreDeterministic(t *testing.T) {
	key, ring := newKey(t)
	body := []byte("Origin: offk8s\n- a dash\nlast line\n")
	for _, tc := range []struct {
		name string
		sign func(*KeyPair, []byte, time.Time) ([]byte, error)
	}{{"detached", SignDetached}, {"clear", ClearSign}} {
		t.Run(tc.name, func(t *testing.T) {
			first, err := tc.sign(key, body, signTime)
			if err != nil {
				t.Fatal(err)
			}
			second, err := tc.sign(key, body, signTime)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(first, second) {
				t.Fatalf("two signatures differ:\n%s\n%s", first, second)
			}
		})
	}
	sig, err := SignDetached(key, body, signTime)
	if err != nil {
		t.Fatal(err)
	}
	fpr, err := VerifyDetached(ring, bytes.NewReader(body), sig)
	if err != nil || fpr != ring.Fingerprints()[0] {
		t.Fatalf("VerifyDetached = %q, %v; want %q", fpr, err, ring.Fingerprints()[0])
	}
	clear, err := ClearSign(key, body, signTime)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := VerifyClearsigned(ring, clear)
	if err != nil || !bytes.Equal(got, body) {
		t.Fatalf("VerifyClearsigned = %q, %v; want %q", got, err, body)
	}
}

// To parse the key takes longer than to sign.
func TestKeyIsParsedOnce(t *testing.T) {
	key := *pair(t) // which other tests use
	parsed := func() *openpgp.Entity {
		t.Helper()
		e, unlock, err := key.entity()
		if err != nil {
			t.Fatal(err)
		}
		unlock()
		return e
	}
	first := parsed()
	if parsed() != first {
		t.Error("parsed again")
	}
	other, _ := newKey(t)
	key.OpenPGP = other.OpenPGP
	if got := parsed(); bytes.Equal(got.PrimaryKey.Fingerprint, first.PrimaryKey.Fingerprint) {
		t.Error("signs with the former key")
	}
}

func TestVerifyDetachedRefuses(t *testing.T) {
	key, ring := newKey(t)
	_, stranger := newKey(t)
	body := []byte("data")
	sig, err := SignDetached(key, body, signTime)
	if err != nil {
		t.Fatal(err)
	}
	future, err := SignDetached(key, body, time.Now().Add(48*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		ring *Keyring
		data string
		sig  []byte
		want error
	}{
		{"other data", ring, "date", sig, ErrBadSignature},
		{"more data", ring, "data\n", sig, ErrBadSignature},
		{"unknown key", stranger, "data", sig, ErrUnknownKey},
		{"no keys", nil, "data", sig, ErrNoKey},
		{"not a signature", ring, "data", []byte("hello"), ErrBadSignature},
		{"empty armour", ring, "data", []byte("-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n"), nil},
		{"from the future", ring, "data", future, ErrBadSignature},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := VerifyDetached(tc.ring, strings.NewReader(tc.data), tc.sig)
			if err == nil || (tc.want != nil && !errors.Is(err, tc.want)) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
		})
	}
}

func TestVerifyClearsignedRefusesForeignText(t *testing.T) {
	key, ring := newKey(t)
	clear, err := ClearSign(key, []byte("Suite: stable\n"), signTime)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]string{
		"before":      "Suite: evil\n" + string(clear),
		"after":       string(clear) + "Suite: evil\n",
		"second":      string(clear) + string(clear),
		"inside":      strings.Replace(string(clear), "stable", "evil", 1),
		"header":      strings.Replace(string(clear), "Hash: SHA512", "Hash: SHA512\nSuite: evil", 1),
		"plain":       "Suite: stable\n",
		"no end":      string(clear[:len(clear)-20]),
		"only banner": "-----BEGIN PGP SIGNED MESSAGE-----\n",
	} {
		t.Run(name, func(t *testing.T) {
			if body, _, err := VerifyClearsigned(ring, []byte(b)); err == nil {
				t.Fatalf("accepted, body %q", body)
			}
		})
	}
}

func TestGPGVAcceptsOurSignatures(t *testing.T) {
	testenv.NeedTool(t, "gpgv", "gpg")
	key, _ := newKey(t)
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	asc, ring := write("key.asc", key.OpenPGPPublic), filepath.Join(dir, "key.gpg")
	run(t, dir, "gpg", "--batch", "--homedir", dir, "--dearmor", "-o", ring, asc)
	body := []byte("some metadata\n")
	data := write("data", body)
	sig, err := SignDetached(key, body, signTime)
	if err != nil {
		t.Fatal(err)
	}
	clear, err := ClearSign(key, body, signTime)
	if err != nil {
		t.Fatal(err)
	}
	run(t, dir, "gpgv", "--keyring", ring, write("data.asc", sig), data)
	run(t, dir, "gpgv", "--keyring", ring, write("InRelease", clear))
	shown := run(t, dir, "gpg", "--batch", "--homedir", dir, "--show-keys", "--with-colons", asc)
	if !strings.Contains(shown, "pub:-:3072:1:") || strings.Contains(shown, "sub:") {
		t.Fatalf("not a lone RSA-3072 key without expiry:\n%s", shown)
	}
}

// run runs a program in the C locale and returns its combined output.
func run(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GNUPGHOME="+dir, "HOME="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}
