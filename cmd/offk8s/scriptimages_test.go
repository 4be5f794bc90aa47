package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
)

// scriptSignImage: sign-image IMAGE KEY signs an image of the upstream as cosign does, with a
// new key whose public key is written to KEY, and sets $SIGNATURE to the tag.
func scriptSignImage(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "sign-image IMAGE KEY")
	up := of(ts).upstream
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	spki, err := x509.MarshalPKIXPublicKey(private.Public())
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}), 0o644))
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`,
		up.ImageDigest(args[0]))
	sum := sha256.Sum256(payload)
	sig, err := private.Sign(rand.Reader, sum[:], crypto.SHA256)
	ts.Check(err)
	_, err = up.Attach(args[0], upstreamtest.Attachment{
		Suffix: ".sig", MediaType: trust.MediaTypeSimpleSigning, Content: payload,
		Annotations: map[string]string{trust.AnnotationCosign: base64.StdEncoding.EncodeToString(sig)},
	})
	ts.Check(err)
	ts.Setenv("SIGNATURE", strings.Replace(up.ImageDigest(args[0]), ":", "-", 1)+".sig")
}
