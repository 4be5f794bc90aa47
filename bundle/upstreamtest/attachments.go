package upstreamtest

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Attachment is a manifest with one layer that hangs on an image.
type Attachment struct {
	// Suffix ends the tag of cosign (".sig"); without one it is a referrer.
	Suffix      string
	MediaType   string
	Content     []byte
	Annotations map[string]string // of the layer
}

// Attach makes x hang on the image that ref names, and returns its digest. The registry
// has no referrers API, so that referrers are found by the fallback tag.
func (u *Upstream) Attach(ref string, x Attachment) (string, error) {
	mediaType := types.MediaType(x.MediaType)
	img, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer: static.NewLayer(x.Content, mediaType), MediaType: mediaType, Annotations: x.Annotations,
	})
	if err != nil {
		return "", err
	}
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	tag, err := name.NewTag(strings.TrimPrefix(u.URL, "http://") + "/" + ref)
	if err != nil {
		return "", err
	}
	subject, err := remote.Head(tag)
	if err != nil {
		return "", err
	}
	var to name.Reference = tag.Tag(strings.Replace(u.ImageDigest(ref), ":", "-", 1) + x.Suffix)
	if x.Suffix == "" {
		img = mutate.Subject(mutate.ConfigMediaType(img, mediaType), v1.Descriptor{
			MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size,
		}).(v1.Image)
	}
	d, err := img.Digest()
	if err != nil {
		return "", err
	}
	if x.Suffix == "" {
		to = tag.Digest(d.String())
	}
	return d.String(), remote.Write(to, img)
}
