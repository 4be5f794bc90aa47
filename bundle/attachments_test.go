package bundle_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/manifests"
)

const signedImage = "registry.k8s.io/pause:3.10.2"

// attach makes x hang on an image upstream, and returns the digest of x.
func attach(t *testing.T, up *upstreamtest.Upstream, ref string, x upstreamtest.Attachment) string {
	t.Helper()
	d, err := up.Attach(ref, x)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func attachmentsOf(l *manifests.Lock) []string {
	var out []string
	for _, a := range l.Artifacts {
		if a.Kind == manifests.KindAttachment {
			out = append(out, a.Name)
		}
	}
	return out
}

func TestAttachmentsTravel(t *testing.T) {
	up := startUpstream(t)
	p := newPacker(t, up)
	attach(t, up, signedImage, upstreamtest.Attachment{Suffix: ".sig", MediaType: "text/plain", Content: []byte("signature")})
	sbom := attach(t, up, signedImage, upstreamtest.Attachment{MediaType: "application/spdx+json", Content: []byte("{}")})
	attach(t, up, signedImage, upstreamtest.Attachment{MediaType: "application/x-lazy", Content: make([]byte, 65<<20)})
	want := []string{
		"registry.k8s.io/pause:" + strings.Replace(up.ImageDigest(signedImage), ":", "-", 1) + ".sig",
		"registry.k8s.io/pause@" + sbom,
	}
	lock := p.mustResolve(wanted("rocky-9"))
	if diff := cmp.Diff(want, attachmentsOf(lock)); diff != "" {
		t.Fatalf("attachments in the lock (-want +got):\n%s", diff)
	}
	r, first := p.pack(lock, "one.tar")
	b, err := bundle.Open(context.Background(), []string{r.Path}, bundletest.Options(bundletest.Key(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Verify(context.Background(), bundle.VerifyOptions{}); err != nil {
		t.Error(err)
	}
	for _, name := range want {
		if !slices.ContainsFunc(b.Images(), func(e bundle.ImageEntry) bool { return e.Name == name }) {
			t.Errorf("index.json does not name %s", name)
		}
	}
	s, err := bundle.Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(s.Kinds, func(k bundle.KindSummary) bool { return k.Kind == "attachment" })
	if i < 0 || s.Kinds[i].Count != 2 {
		t.Errorf("kinds %+v, want 2 attachments", s.Kinds)
	}
	for _, c := range bundle.SBOM(b).Components {
		if strings.Contains(c.Name, ".sig") || strings.Contains(c.Name, sbom) {
			t.Errorf("the bill of materials lists %s", c.Name)
		}
	}
	if why := bundle.Why(b.Lock(), want[0]); len(why) != 1 || len(why[0].Chain) != 1 || why[0].Chain[0].Name != signedImage {
		t.Errorf("why: %+v", why)
	}
	before := len(up.Requests())
	if _, second := p.pack(clone(t, lock), "two.tar"); second != first {
		t.Errorf("packed %s, want %s", second, first)
	}
	if got := up.Requests()[before:]; len(got) > 0 {
		t.Errorf("second pack asked for %v", got)
	}
	m := wanted("rocky-9")
	m.Attachments = manifests.AttachmentsNone
	if got := attachmentsOf(p.mustResolve(m)); len(got) > 0 {
		t.Errorf("attachments: none: found %v", got)
	}
}
