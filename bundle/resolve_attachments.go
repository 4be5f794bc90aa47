package bundle

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/manifests"
)

// attachments adds the signatures, attestations and SBOMs that hang on the images to the
// Lock, unless the user wants none.
func (r *resolver) attachments(ctx context.Context) {
	if r.m.Attachments == manifests.AttachmentsNone || len(r.errs) > 0 {
		return
	}
	var images []manifests.Artifact
	for _, a := range r.lock.Artifacts {
		if a.Kind == manifests.KindImage && a.Source.Trust != manifests.TrustLocal {
			images = append(images, a)
		}
	}
	found := make([][]fetch.Attachment, len(images))
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(defaultParallel)
	for i, a := range images {
		g.Go(func() error {
			ref, err := fetch.ParseImage(a.Source.URL)
			if err == nil {
				found[i], err = r.env.Attachments(ctx, ref, a.Source.Digest)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				r.fail(a.Name, err)
			}
			return nil
		})
	}
	_ = g.Wait() // no error: fail has them
	manifests.SortErrors(r.errs)
	have := map[string]bool{}
	for i, a := range images {
		for _, x := range found[i] {
			if x.Skip != "" {
				r.o.Log.Warn("left out what hangs on an image", "image", a.Name, "attachment", x.Name, "reason", x.Skip)
			} else if !have[x.Name] {
				have[x.Name] = true
				r.add(attachmentArtifact(a, x))
			}
		}
	}
}

func attachmentArtifact(image manifests.Artifact, x fetch.Attachment) manifests.Artifact {
	return manifests.Artifact{
		Kind: manifests.KindAttachment, Name: x.Name, RequiredBy: image.Name, Requirement: "attached to it",
		Source: manifests.Source{URL: x.Name, Digest: x.Digest, Trust: manifests.TrustAttached},
	}
}
