package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/test/testenv"
)

var sharedPair = sync.OnceValues(func() (*KeyPair, error) { return GenerateKeys(signTime) })

func pair(t testing.TB) *KeyPair {
	t.Helper()
	k, err := sharedPair()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// otherKey makes a bundle key without an OpenPGP one.
func otherKey(t testing.TB) *KeyPair {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := newKeyPair(ec, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestRFC6979 has the vectors of RFC 6979, A.2.5, for P-256 with SHA-256.
func TestRFC6979(t *testing.T) {
	number := func(s string) *big.Int {
		n, ok := new(big.Int).SetString(s, 16)
		if !ok {
			t.Fatal(s)
		}
		return n
	}
	d := number("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721")
	scalar := d.FillBytes(make([]byte, 32))
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		t.Fatal(err)
	}
	for message, want := range map[string]struct{ R, S *big.Int }{
		"sample": {
			number("EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"),
			number("F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"),
		},
		"test": {
			number("F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367"),
			number("019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083"),
		},
	} {
		got, err := signIndex(k, []byte(message))
		if err != nil {
			t.Fatal(err)
		}
		der, err := asn1.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, der) {
			t.Errorf("%q: got %x, want %x", message, got, der)
		}
	}
}

func TestT02VerifyIndex(t *testing.T) {
	key, other := pair(t), otherKey(t)
	index := []byte(`{"schemaVersion":2}`)
	sig, err := key.SignIndex(index)
	if err != nil {
		t.Fatal(err)
	}
	strange, err := other.SignIndex(index)
	if err != nil {
		t.Fatal(err)
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(sig, &rs); err != nil {
		t.Fatal(err)
	}
	encode := func(r, s *big.Int) []byte {
		b, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	longForm := append([]byte{sig[0], 0x81}, sig[1:]...)
	padded := append([]byte{0x30, sig[1] + 1, 0x02, sig[3] + 1, 0}, sig[4:]...)
	mine, both := []PublicKey{key.Public()}, []PublicKey{other.Public(), key.Public()}
	tests := []struct {
		name string
		sig  []byte
		keys []PublicKey
		want error
	}{
		{"good", sig, mine, nil},
		{"good, second key", sig, both, nil},
		{"the other S, same identity", encode(rs.R, new(big.Int).Sub(elliptic.P256().Params().N, rs.S)), mine, nil},
		{"no signature", nil, mine, ErrUnsigned},
		{"empty signature", []byte{}, mine, ErrUnsigned},
		{"no signature, no key", nil, nil, ErrUnsigned},
		{"no key", sig, nil, ErrNoKey},
		{"zero key", sig, []PublicKey{{}}, ErrUnknownKey},
		{"other key", strange, mine, ErrUnknownKey},
		{"trailing byte", append(bytes.Clone(sig), 0), mine, ErrBadSignature},
		{"two signatures", append(bytes.Clone(sig), sig...), mine, ErrBadSignature},
		{"cut", sig[:len(sig)-1], mine, ErrBadSignature},
		{"long form length", longForm, mine, ErrBadSignature},
		{"padded number", padded, mine, ErrBadSignature},
		{"zero R", encode(new(big.Int), rs.S), mine, ErrBadSignature},
		{"negative S", encode(rs.R, new(big.Int).Neg(rs.S)), mine, ErrBadSignature},
		{"R over the order", encode(new(big.Int).Add(rs.R, elliptic.P256().Params().N), rs.S), mine, ErrUnknownKey},
		{"text", []byte("hello"), mine, ErrBadSignature},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			signer, err := VerifyIndex(index, tt.sig, tt.keys)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err == nil && !signer.Equal(key.Public()) {
				t.Errorf("signer %s", signer)
			}
		})
	}
	if _, err := VerifyIndex(append(index, ' '), sig, mine); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("right key over other bytes: %v", err)
	}
	again, err := key.SignIndex(index)
	if err != nil || !bytes.Equal(again, sig) {
		t.Errorf("signing again gives other bytes, %v", err)
	}
}

func TestParsePublicKeys(t *testing.T) {
	key, other := pair(t).PublicPEM(), otherKey(t).PublicPEM()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newPublicKey(&p384.PublicKey); err == nil {
		t.Error("took a P-384 key")
	}
	block, _ := pem.Decode(key)
	tests := []struct {
		name string
		text string
		want int
	}{
		{"one", string(key), 1},
		{"two", string(key) + "\n" + string(other), 2},
		{"empty", " \n", 0},
		{"text after", string(key) + "hello", 0},
		{"private", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: block.Bytes})), 0},
		{"damaged", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: block.Bytes[1:]})), 0},
		{"RSA", rsaPEM, 0},
	}
	for _, tt := range tests {
		keys, err := ParsePublicKeys([]byte(tt.text))
		if len(keys) != tt.want || (err == nil) != (tt.want > 0) {
			t.Errorf("%s: %d keys, %v", tt.name, len(keys), err)
		}
	}
}

const rsaPEM = `-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf
9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==
-----END PUBLIC KEY-----
`

func TestKeyFile(t *testing.T) {
	key := pair(t)
	noPass := func() ([]byte, error) { t.Error("asked for a passphrase"); return nil, nil }
	pass := func(p string) func() ([]byte, error) { return func() ([]byte, error) { return []byte(p), nil } }

	path := filepath.Join(t.TempDir(), "offk8s.key")
	if err := key.SaveKeyFile(path, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	if err := key.SaveKeyFile(path, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("wrote over a key: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	got, err := LoadKeyFile(path, pass("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if !got.ecdsa.Equal(key.ecdsa) || !bytes.Equal(got.OpenPGP, key.OpenPGP) || !bytes.Equal(got.OpenPGPPublic, key.OpenPGPPublic) {
		t.Error("another key came back")
	}
	for _, p := range []string{"Secret", "", "secret "} {
		if _, err := LoadKeyFile(path, pass(p)); !errors.Is(err, ErrPassphrase) {
			t.Errorf("passphrase %q: %v", p, err)
		}
	}
	asked := errors.New("no terminal")
	if _, err := LoadKeyFile(path, func() ([]byte, error) { return nil, asked }); !errors.Is(err, asked) {
		t.Errorf("got %v", err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeyFile(path, pass("secret")); err == nil {
			t.Errorf("read a key file of mode %#o", mode)
		}
	}

	open := filepath.Join(t.TempDir(), "open.key")
	if err := key.SaveKeyFile(open, nil); err != nil {
		t.Fatal(err)
	}
	if got, err = LoadKeyFile(open, noPass); err != nil || !got.ecdsa.Equal(key.ecdsa) {
		t.Errorf("unencrypted: %v", err)
	}
	if b, err := os.ReadFile(open); err != nil || !strings.Contains(string(b), `"protection": "none"`) {
		t.Errorf("an unencrypted file does not say so: %v", err)
	}
}

func TestKeyFileAltered(t *testing.T) {
	key := pair(t)
	b, err := key.MarshalEncrypted(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseKeyFile(b, nil); err != nil {
		t.Fatal(err)
	}
	other := otherKey(t)
	for name, change := range map[string]func(*keyFile){
		"public key":  func(f *keyFile) { f.PublicKey = string(other.PublicPEM()) },
		"openpgp key": func(f *keyFile) { f.OpenPGPPublicKey = "x" },
		"kind":        func(f *keyFile) { f.Kind = "Cluster" },
		"version":     func(f *keyFile) { f.APIVersion = "offk8s.dev/v2" },
		"protection":  func(f *keyFile) { f.Protection = "rot13" },
		"secret":      func(f *keyFile) { f.Secret = json.RawMessage(`{"pkcs8":"AAAA"}`) },
		"no secret":   func(f *keyFile) { f.Secret = json.RawMessage(`null`) },
	} {
		var f keyFile
		if err := json.Unmarshal(b, &f); err != nil {
			t.Fatal(err)
		}
		change(&f)
		changed, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseKeyFile(changed, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, text := range []string{"", "hello", "{}", string(key.PublicPEM()), strings.Replace(string(b), "{", `{"x":1,`, 1)} {
		if _, err := ParseKeyFile([]byte(text), nil); err == nil {
			t.Errorf("accepted %.20q", text)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	key := pair(t)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", key, "secret", key.OpenPGP)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", key, "secret", key.OpenPGP)
	for _, v := range []any{key, *key, key.OpenPGP, &key.OpenPGP, struct{ K *KeyPair }{key}, []any{key.OpenPGP}, fmt.Errorf("x: %w", &keyError{key})} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&log, verb+"\n", v)
		}
		if b, err := json.Marshal(v); err == nil {
			log.Write(b)
		}
	}
	out := log.String()
	raw, err := key.ecdsa.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][]byte{"openpgp": key.OpenPGP[:24], "ecdsa": raw} {
		forms := []string{string(secret), hex.EncodeToString(secret), fmt.Sprint(secret), strings.Trim(fmt.Sprint(secret), "[]"), new(big.Int).SetBytes(secret).String()}
		for _, form := range forms {
			if strings.Contains(strings.ToLower(out), strings.ToLower(form)) {
				t.Errorf("the %s secret is printed as %.20q…", name, form)
			}
		}
	}
	if !strings.Contains(out, key.Fingerprint()) || !strings.Contains(out, redacted) {
		t.Error("neither fingerprint nor placeholder is printed")
	}
}

type keyError struct{ k *KeyPair }

func (e *keyError) Error() string { return fmt.Sprintf("%+v", *e.k) }

func TestSigstoreBundle(t *testing.T) {
	key := pair(t)
	index := []byte("index")
	sig, err := key.SignIndex(index)
	if err != nil {
		t.Fatal(err)
	}
	b, err := SigstoreBundle(index, sig, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	material, _ := got["verificationMaterial"].(map[string]any)
	message, _ := got["messageSignature"].(map[string]any)
	digest, _ := message["messageDigest"].(map[string]any)
	want := []any{
		"application/vnd.dev.sigstore.bundle.v0.3+json", key.Public().hint(), "SHA2_256",
		"G8BLUpHCakbZGBOROLmS0t6XbWhR0Ik7BHa4W/vfxuY=",
	}
	hint, _ := material["publicKey"].(map[string]any)
	if diff := cmp.Diff(want, []any{got["mediaType"], hint["hint"], digest["algorithm"], digest["digest"]}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !SigstoreHints(b, key.Public()) || SigstoreHints(b, otherKey(t).Public()) || SigstoreHints([]byte("x"), key.Public()) {
		t.Error("the hint names another key")
	}
}

// TestOpenSSL has the verifier that every host has check our signature, and
// compares the fingerprint with the command of README.txt.
func TestOpenSSL(t *testing.T) {
	testenv.NeedTool(t, "openssl", "sha256sum", "sh")
	key := pair(t)
	dir := t.TempDir()
	index := []byte(`{"schemaVersion":2}`)
	sig, err := key.SignIndex(index)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"index.json": index, "altered.json": append(index, '\n'), "index.json.sig": sig, "offk8s.pub": key.PublicPEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(script string) (string, error) {
		cmd := exec.Command("sh", "-c", script)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	const verify = "openssl dgst -sha256 -verify offk8s.pub -signature index.json.sig "
	if out, err := run(verify + "index.json"); err != nil || !strings.Contains(out, "Verified OK") {
		t.Errorf("openssl: %v: %s", err, out)
	}
	if out, err := run(verify + "altered.json"); err == nil {
		t.Errorf("openssl accepts altered bytes: %s", out)
	}
	out, err := run("openssl pkey -pubin -in offk8s.pub -outform DER | sha256sum")
	if err != nil || "sha256:"+strings.Fields(out)[0] != key.Fingerprint() {
		t.Errorf("fingerprint %s, openssl says %s (%v)", key.Fingerprint(), out, err)
	}
}

func TestExternalKey(t *testing.T) {
	token, stranger := otherKey(t), otherKey(t)
	made, err := GenerateExternal(token.Public(), signTime)
	if err != nil {
		t.Fatal(err)
	}
	file, err := made.MarshalEncrypted([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseKeyFile(file, func() ([]byte, error) { return []byte("secret"), nil })
	if err != nil || !k.External() || !k.Public().Equal(token.Public()) {
		t.Fatalf("read back: %v, %v", k, err)
	}
	if _, err := SignDetached(k, []byte("x"), signTime); err != nil {
		t.Errorf("the key of repositories: %v", err)
	}
	swapped := bytes.ReplaceAll(file, []byte(jsonText(t, token.PublicPEM())), []byte(jsonText(t, stranger.PublicPEM())))
	if _, err := ParseKeyFile(swapped, func() ([]byte, error) { return []byte("secret"), nil }); err == nil {
		t.Error("accepted another public key")
	}
	for _, tc := range []struct {
		name string
		sign Signer
		want error
	}{
		{"none", nil, ErrExternal},
		{"good", token.SignIndex, nil},
		{"wrong key", stranger.SignIndex, ErrSigner},
		{"other bytes", func([]byte) ([]byte, error) { return token.SignIndex([]byte("y")) }, ErrSigner},
		{"nothing", func([]byte) ([]byte, error) { return nil, nil }, ErrSigner},
		{"fails", func([]byte) ([]byte, error) { return nil, fs.ErrPermission }, fs.ErrPermission},
	} {
		signing := k.WithSigner(tc.sign)
		sig, err := signing.SignIndex([]byte("x"))
		if !errors.Is(err, tc.want) || tc.want == nil && err != nil {
			t.Errorf("%s: error %v, want %v", tc.name, err, tc.want)
		}
		if errors.Is(err, ErrUnknownKey) || errors.Is(err, ErrUnsigned) || err != nil && sig != nil {
			t.Errorf("%s: %q, %v", tc.name, sig, err)
		}
	}
}

// jsonText returns b as it is in a JSON string.
func jsonText(t *testing.T, b []byte) string {
	t.Helper()
	text, err := json.Marshal(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
