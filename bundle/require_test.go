package bundle_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/manifests"
)

// pinImages turns the first uses of lock into images that the catalog pins.
func pinImages(lock *manifests.Lock) {
	for i := range lock.Artifacts {
		a := &lock.Artifacts[i]
		for role, image := range lock.CNIRelease.Images {
			if image.Ref == a.Name {
				image.Digest = a.Source.Digest.String()
				lock.CNIRelease.Images[role] = image
				a.Source.Trust = manifests.TrustCatalog
			}
		}
	}
}

// Images of the catalog are pinned there; those of the user need a signature as well.
func TestRequireSigned(t *testing.T) {
	const app = "registry.k8s.io/team/app:1.0"
	up := startUpstream(t)
	if err := up.PushImage(app, "app"); err != nil {
		t.Fatal(err)
	}
	signer, private := imageSigner(t, "registry.k8s.io/team", 1)
	other, _ := imageSigner(t, "registry.k8s.io/team", 2)
	payload, annotations := simpleSigning(t, private, digest.Digest(up.ImageDigest(app)))
	if _, err := up.Attach(app, upstreamtest.Attachment{
		Suffix: ".sig", MediaType: trust.MediaTypeSimpleSigning, Content: payload, Annotations: annotations,
	}); err != nil {
		t.Fatal(err)
	}
	p := newPacker(t, up)
	m := wanted("rocky-9")
	m.Images = []string{app + "@" + up.ImageDigest(app)}

	// All refusals come at once, and before a download.
	_, err := p.resolve(m, func(o *bundle.ResolveOptions) { o.Require = bundle.RequireSigned })
	refused(t, err, bundle.ErrPolicy, "flannel", "no digest is pinned", app, "no key for its signature")

	lock := p.mustResolve(m)
	pack := func(require bundle.Require, signers ...bundle.ImageSigner) error {
		o := p.options("b.tar")
		o.Require, o.ImageSigners = require, signers
		_, err := bundle.Pack(context.Background(), lock, o)
		return err
	}
	refused(t, pack(bundle.RequireSigned, signer), bundle.ErrPolicy, "flannel")
	pinImages(lock)
	err = pack(bundle.RequireSigned)
	refused(t, err, bundle.ErrPolicy, app)
	if strings.Contains(err.Error(), "flannel") || strings.Contains(err.Error(), "pause") {
		t.Errorf("an image of the catalog is refused: %v", err)
	}
	refused(t, pack(bundle.RequireSigned, other), bundle.ErrImageSignature, app)
	if err := pack(bundle.RequirePinned); err != nil {
		t.Errorf("with pins required: %v", err)
	}
	if err := pack(bundle.RequireSigned, signer); err != nil {
		t.Errorf("with signatures required: %v", err)
	}
}

func refused(t *testing.T, err, class error, mentions ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("got %v, want %v", err, class)
	}
	for _, want := range mentions {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %q: %v", want, err)
		}
	}
}
