package bundle

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// planImages lists the images of the release, of the pod network, of the addons and
// of the user, each once.
func (r *resolver) planImages() {
	var want []catalog.Image
	for _, roles := range []map[string]catalog.Image{r.lock.Release.Images, r.lock.CNIRelease.Images} {
		for _, role := range slices.Sorted(maps.Keys(roles)) {
			want = append(want, roles[role])
		}
	}
	for _, a := range r.lock.Addons {
		for _, role := range slices.Sorted(maps.Keys(a.Release.Images)) {
			want = append(want, a.Release.Images[role])
		}
	}
	for _, ref := range r.m.Images {
		want = append(want, catalog.Image{Ref: ref})
	}
	for _, chart := range r.m.Charts {
		for _, ref := range chart.Images {
			want = append(want, catalog.Image{Ref: ref})
		}
	}
	for _, image := range want {
		r.addImage(image)
	}
}

// addImage adds an image to the Lock unless it is there.
func (r *resolver) addImage(image catalog.Image) {
	a, err := imageArtifact(image)
	if err != nil {
		r.fail(image.Ref, err)
		return
	}
	have, again := r.pins[a.Name]
	if again && have != a.Source.Digest && have != "" && a.Source.Digest != "" {
		r.fail(a.Name, fmt.Errorf("is requested as %s and as %s", have, a.Source.Digest))
	}
	if !again {
		r.add(a)
		r.pins[a.Name] = a.Source.Digest
	}
}

func imageArtifact(image catalog.Image) (manifests.Artifact, error) {
	ref, err := fetch.ParseImage(image.Ref)
	if err != nil {
		return manifests.Artifact{}, err
	}
	d := ref.Digest
	if image.Digest != "" {
		pin := digest.Digest(image.Digest)
		if err := pin.Validate(); err != nil {
			return manifests.Artifact{}, fmt.Errorf("digest %q: %w", pin, err)
		}
		if d != "" && d != pin {
			return manifests.Artifact{}, fmt.Errorf("is pinned as %s and as %s", d, pin)
		}
		d = pin
	}
	a := manifests.Artifact{
		Kind: manifests.KindImage, Name: ref.Name, Version: ref.Tag,
		Source: manifests.Source{URL: ref.Name, Digest: d, Trust: manifests.TrustCatalog},
	}
	if d == "" {
		a.Source.Trust = manifests.TrustFirstUse
	}
	return a, nil
}

// resolveTag asks the registry for the digest of a tag, once.
func (r *resolver) resolveTag(ctx context.Context, a *manifests.Artifact) {
	ref, err := fetch.ParseImage(a.Source.URL)
	if err == nil {
		a.Source.Digest, err = r.o.Client.ResolveImage(ctx, ref)
	}
	if err != nil {
		r.fail(a.Name, err)
		return
	}
	r.o.Log.Info("first use", "artifact", a.Name, "digest", a.Source.Digest)
}

// smokeImage builds the image of the smoke test, which runs the offk8s binary.
func (r *resolver) smokeImage(ctx context.Context) {
	name := fetch.SmokeName(r.o.Offk8sVersion)
	d, err := r.env.BuildSmoke(ctx)
	if err != nil {
		r.fail(name, err)
		return
	}
	r.add(manifests.Artifact{
		Kind: manifests.KindImage, Name: name, Version: r.o.Offk8sVersion,
		Source: manifests.Source{URL: fetch.SmokeURL, Digest: d, Trust: manifests.TrustLocal},
	})
}
