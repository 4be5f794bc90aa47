package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// imageSigner makes signatures of one kind of key, and its public key.
func imageSigner(t *testing.T, private crypto.Signer) (key ImageKey, sign func([]byte) string) {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	if key, err = ParseImageKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})); err != nil {
		t.Fatal(err)
	}
	return key, func(message []byte) string {
		opts, digest := crypto.SignerOpts(crypto.Hash(0)), message
		if _, ok := private.(*ecdsa.PrivateKey); ok {
			sum := sha256.Sum256(message)
			opts, digest = crypto.SHA256, sum[:]
		}
		sig, err := private.Sign(rand.Reader, digest, opts)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(sig)
	}
}

func TestImageKey(t *testing.T) {
	const image = "sha256:87ef60f558bad79beea6425a3b28989f01dd417164150ab3baab98dcbf04def8"
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := imageSigner(t, ed25519.NewKeyFromSeed(make([]byte, 32)))
	payload := func(kind string) []byte {
		return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"any"},"image":{"docker-manifest-digest":%q},"type":%q},"optional":{"a":1}}`, image, kind)
	}
	for name, private := range map[string]crypto.Signer{"ECDSA": ec, "Ed25519": ed} {
		t.Run(name, func(t *testing.T) {
			key, sign := imageSigner(t, private)
			envelope := func(predicate string) []byte {
				statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`,
					strings.TrimPrefix(image, "sha256:"), predicate)
				// DSSE v1 protocol.md: PAE(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body
				sig := sign(fmt.Appendf(nil, "DSSEv1 28 application/vnd.in-toto+json %d %s", len(statement), statement))
				return fmt.Appendf(nil, `{"mediaType":%q,"verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":{"payload":%q,"payloadType":"application/vnd.in-toto+json","signatures":[{"sig":%q}]}}`,
					MediaTypeSigstore, base64.StdEncoding.EncodeToString([]byte(statement)), sig)
			}
			good := payload("cosign container image signature")
			for _, s := range []ImageSignature{
				{MediaTypeSimpleSigning, good, sign(good)},
				{MediaTypeSigstore, envelope("https://sigstore.dev/cosign/sign/v1"), ""},
			} {
				if images, err := key.Verify(s); err != nil || !slices.Equal(images, []string{image}) {
					t.Errorf("%s: signs %v, %v", s.MediaType, images, err)
				}
				if _, err := other.Verify(s); !errors.Is(err, ErrOtherKey) {
					t.Errorf("%s: another key: %v, want ErrOtherKey", s.MediaType, err)
				}
			}
			atomic := payload("atomic container signature")
			altered := slices.Concat(good[:len(good)-1], []byte(" }"))
			for want, s := range map[string]ImageSignature{
				"by another key":      {MediaTypeSimpleSigning, altered, sign(good)},
				"want a \"cosign con": {MediaTypeSimpleSigning, atomic, sign(atomic)},
				"base64":              {MediaTypeSimpleSigning, good, "?"},
				"want a \"https://s":  {MediaTypeSigstore, envelope("https://slsa.dev/provenance/v1"), ""},
				"without an env":      {MediaTypeSigstore, []byte("{}"), ""},
				"sigstore bundle":     {MediaTypeSigstore, []byte("x"), ""},
				"unknown format":      {"text/plain", good, sign(good)},
			} {
				if images, err := key.Verify(s); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, %v, want %q", images, err, want)
				}
			}
		})
	}
}

func TestParseImageKeyRefuses(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(p384.Public())
	if err != nil {
		t.Fatal(err)
	}
	good := string(otherKey(t).PublicPEM())
	for text, want := range map[string]string{
		"": "no PEM block", good + good: "more than one",
		string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})):         "P-384",
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})): "no PEM block",
	} {
		if _, err := ParseImageKey([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestStatement(t *testing.T) {
	key, other := otherKey(t), otherKey(t)
	statement := []byte(`{"_type":"https://in-toto.io/Statement/v1"}`)
	envelope, err := key.SignStatement(statement)
	if err != nil {
		t.Fatal(err)
	}
	again, err := key.SignStatement(statement)
	if err != nil || !slices.Equal(again, envelope) {
		t.Errorf("the same statement gives other bytes (%v)", err)
	}
	got, signer, err := OpenStatement(envelope, []PublicKey{other.Public(), key.Public()})
	if err != nil || string(got) != string(statement) || !signer.Equal(key.Public()) {
		t.Errorf("opened %s by %s: %v", got, signer, err)
	}
	if _, _, err := OpenStatement(envelope, []PublicKey{other.Public()}); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("another key: %v", err)
	}
	forged := strings.Replace(string(envelope), base64.StdEncoding.EncodeToString(statement), base64.StdEncoding.EncodeToString([]byte("{}")), 1)
	if _, _, err := OpenStatement([]byte(forged), []PublicKey{key.Public()}); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("altered: %v", err)
	}
	for _, bad := range []string{"", "{}", `{"payloadType":"text/plain","payload":"","signatures":[]}`, strings.Replace(string(envelope), "signatures", "signaturez", 1)} {
		if _, _, err := OpenStatement([]byte(bad), []PublicKey{key.Public()}); !errors.Is(err, ErrBadSignature) {
			t.Errorf("%q: %v, want ErrBadSignature", bad, err)
		}
	}
}
