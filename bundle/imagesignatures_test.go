package bundle_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/trust"
)

// imageSigner returns the requirement that images below prefix are signed by a key, and the
// private key.
func imageSigner(t *testing.T, prefix string, seed byte) (bundle.ImageSigner, ed25519.PrivateKey) {
	t.Helper()
	private := ed25519.NewKeyFromSeed(append(make([]byte, 31), seed))
	spki, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	s, err := bundle.ReadImageSigner(prefix, fmt.Sprintf("key%d.pub", seed), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))
	if err != nil {
		t.Fatal(err)
	}
	return s, private
}

// simpleSigning returns cosign's payload for an image, and the annotation with its signature.
func simpleSigning(t *testing.T, private ed25519.PrivateKey, image digest.Digest) ([]byte, map[string]string) {
	t.Helper()
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, image)
	sig, err := private.Sign(nil, payload, crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	return payload, map[string]string{trust.AnnotationCosign: base64.StdEncoding.EncodeToString(sig)}
}

func TestVerifyImages(t *testing.T) {
	const pause, coredns = bundletest.PauseImage, bundletest.CoreDNSImage
	host := pause[:strings.Index(pause, "/")]
	repo := pause[:strings.LastIndex(pause, ":")]
	one, key1 := imageSigner(t, repo, 1)
	two, _ := imageSigner(t, repo, 2)
	wide, _ := imageSigner(t, host, 2)
	nowhere, _ := imageSigner(t, "registry.example.com", 1)
	tests := []struct {
		name    string
		suffix  string // of the attachment; "none" for none
		of      digest.Digest
		signers []bundle.ImageSigner
		class   error
		want    []string
	}{
		{name: "good", suffix: ".sig", signers: []bundle.ImageSigner{one}},
		{name: "good as a referrer", signers: []bundle.ImageSigner{one}},
		{name: "one of two keys", suffix: ".sig", signers: []bundle.ImageSigner{two, one}},
		{name: "the longest prefix counts, for other images the short one", suffix: ".sig", signers: []bundle.ImageSigner{wide, one}, class: bundle.ErrImageUnsigned, want: []string{coredns, "key2.pub"}},
		{name: "by another key", suffix: ".sig", signers: []bundle.ImageSigner{two}, class: bundle.ErrImageSignature, want: []string{pause, ".sig, which is by another key", "want one of sha256:", "key2.pub (sha256:"}},
		{name: "of another image", suffix: ".sig", of: digest.FromString("other"), signers: []bundle.ImageSigner{one}, class: bundle.ErrImageSignature, want: []string{pause, "is of " + digest.FromString("other").String()}},
		{name: "none", suffix: "none", signers: []bundle.ImageSigner{one}, class: bundle.ErrImageUnsigned, want: []string{pause, "found no signature, want one of sha256:"}},
		{name: "an attestation is none", suffix: ".att", signers: []bundle.ImageSigner{one}, class: bundle.ErrImageUnsigned},
		{name: "no such image", suffix: "none", signers: []bundle.ImageSigner{nowhere}, class: bundle.ErrNoImage, want: []string{"registry.example.com"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := bundletest.New(t)
			b.AddSmall(t)
			if tt.suffix != "none" {
				image := tt.of
				for _, a := range b.Lock.Artifacts {
					if a.Name == pause && image == "" {
						image = a.Blob.Digest
					}
				}
				payload, annotations := simpleSigning(t, key1, image)
				b.Attach(t, pause, tt.suffix, b.Layer(trust.MediaTypeSimpleSigning, payload, annotations))
			}
			open, err := bundle.Open(context.Background(), []string{b.Seal(t)}, bundletest.Options(b.Key))
			if err != nil {
				t.Fatal(err)
			}
			defer open.Close()
			err = open.VerifyImages(tt.signers)
			if !errors.Is(err, tt.class) {
				t.Fatalf("got %v, want %v", err, tt.class)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error does not mention %q: %v", want, err)
				}
			}
		})
	}
}
