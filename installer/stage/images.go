package stage

import (
	"maps"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// imageSteps returns the steps that pull the images of the cluster to every node, so
// that later stages need not wait for them. Images that the user added are pulled
// when a pod needs them, except by docker, which can pull few of them from a mirror.
func imageSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "images"}
	if !h.IsNode() {
		return l.done()
	}
	var refs []string
	for _, m := range []map[string]catalog.Image{in.Lock.Release.Images, in.Lock.CNIRelease.Images} {
		for _, role := range slices.Sorted(maps.Keys(m)) {
			refs = append(refs, m[role].Ref)
		}
	}
	for _, a := range in.addons() {
		if a.Release.Literal {
			continue // pulled when a pod needs them, as all images of the user
		}
		for _, role := range slices.Sorted(maps.Keys(a.Release.Images)) {
			refs = append(refs, a.Release.Images[role].Ref)
		}
	}
	smoke, err := in.smokeImage()
	l.fail(err)
	refs = append(refs, smoke.Name)
	if in.runtimeName() == manifests.RuntimeDocker {
		refs = append(refs, in.taggedImages(refs)...)
	}
	for _, ref := range refs {
		a, err := in.image(ref)
		if err != nil {
			l.fail(err)
			continue
		}
		l.add(a.Name, in.runtime().image(in, h, a))
	}
	return l.done()
}

// taggedImages returns the images of the bundle that have a tag and are not among known.
func (in Input) taggedImages(known []string) []string {
	var out []string
	for _, a := range in.Lock.Artifacts {
		if a.Kind == manifests.KindImage && !strings.Contains(a.Name, "@") && !slices.Contains(known, a.Name) {
			out = append(out, a.Name)
		}
	}
	return out
}

// roleImages maps the roles of images to references for pods.
func roleImages(in Input, images map[string]catalog.Image) (map[string]string, error) {
	out := map[string]string{}
	for role, i := range images {
		ref, err := in.imageRef(i.Ref)
		if err != nil {
			return nil, err
		}
		out[role] = ref
	}
	return out, nil
}
