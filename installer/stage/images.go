package stage

import (
	"maps"
	"slices"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// imageSteps returns the steps that pull the images of the cluster to every node, so
// that later stages need not wait for them. Images that the user added are pulled
// when a pod needs them.
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
	smoke, err := in.smokeImage()
	l.fail(err)
	refs = append(refs, smoke.Name)
	for _, ref := range refs {
		a, err := in.image(ref)
		if err != nil {
			l.fail(err)
			continue
		}
		l.add(a.Name, &step.Image{Name: a.Name, Digest: a.Blob.Digest, PullArgs: in.Lock.Release.Features.CtrPullArgs})
	}
	return l.done()
}

// roleImages maps the roles of images to references by digest.
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
