package upstreamtest

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/offk8s/offk8s/manifests/catalog"
)

func newRegistry() http.Handler {
	return registry.New(registry.Logger(log.New(io.Discard, "", 0)))
}

// addImages makes every image of the releases, their pod networks and addons, each for
// three platforms.
func (u *Upstream) addImages() error {
	releases, err := u.releases()
	if err != nil {
		return err
	}
	for _, r := range releases {
		if err := u.addRoles(r.Images); err != nil {
			return err
		}
		for _, name := range u.catalog.CNINames() {
			cni, err := u.catalog.CNI(name)
			if err != nil {
				return err
			}
			release, err := cni.For(r.Minor)
			if err != nil {
				continue
			}
			if err := u.addRoles(release.Images); err != nil {
				return err
			}
		}
		for _, name := range u.catalog.AddonNames() {
			addon, err := u.catalog.Addon(name)
			if err != nil {
				return err
			}
			release, err := addon.For(r.Minor)
			if err != nil {
				continue
			}
			if err := u.addRoles(release.Images); err != nil {
				return err
			}
		}
	}
	return nil
}

func (u *Upstream) addRoles(images map[string]catalog.Image) error {
	for _, image := range images {
		if u.digests[image.Ref] != "" {
			continue
		}
		if err := u.PushImage(image.Ref, "made up"); err != nil {
			return fmt.Errorf("image %q: %w", image.Ref, err)
		}
	}
	return nil
}

// PushImage makes the image that ref ("registry.k8s.io/pause:3.10") names hold a
// text, for amd64, arm64 and s390x. Pushing again moves the tag.
func (u *Upstream) PushImage(ref, text string) error {
	index := mutate.IndexMediaType(v1.ImageIndex(empty.Index), types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64", "s390x"} {
		img, err := image(ref, text, arch)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	d, err := index.Digest()
	if err != nil {
		return err
	}
	tag, err := name.NewTag(strings.TrimPrefix(u.URL, "http://") + "/" + ref)
	if err != nil {
		return err
	}
	if err := remote.WriteIndex(tag, index); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.digests[ref] = d.String()
	return nil
}

// ImageDigest returns the digest of the index that ref names now.
func (u *Upstream) ImageDigest(ref string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.digests[ref]
}

func image(ref, text, arch string) (v1.Image, error) {
	tar, err := tarGz(map[string][]byte{"etc/offk8s-made-up": fmt.Appendf(nil, "%s: %s for linux/%s\n", text, ref, arch)}, 0o644)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(string(tar))), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", arch, v1.Time{Time: Built}
	config.Config.Entrypoint = []string{"/made-up"}
	return mutate.ConfigFile(img, config)
}
