package upstream

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// contents lists the parts of an image of a role: programs of the lab and
// where they stand in the image. The first is the entrypoint.
var contents = map[string][][2]string{
	"pause":    {{"pause", "/pause"}},
	"coredns":  {{"coredns", "/coredns"}},
	"flannel":  {{"flanneld", "/opt/bin/flanneld"}, {"cp", "/bin/cp"}},
	"plugin":   {{"cp", "/bin/cp"}, {"flannel", "/flannel"}},
	"policies": {{"kube-router", "/usr/local/bin/kube-router"}},
	"router":   {{"kube-router", "/usr/local/bin/kube-router"}, {"cp", "/bin/cp"}},
}

// callsTools are the roles whose programs call iptables or ipset.
var callsTools = []string{"flannel", "policies", "router"}

// images pushes an image for every role and returns the overlay with the
// digests of what was pushed. Each is an index with a second platform, as the
// real ones are, so that packing one architecture leaves something out.
func (u *Upstream) images(c Config, images map[string]catalog.Image) (map[string]catalog.Image, error) {
	overlay := map[string]catalog.Image{}
	for role, image := range images {
		programs, ok := contents[role]
		if !ok {
			return nil, fmt.Errorf("image role %q is unknown to the lab", role)
		}
		amd64, err := c.image(role, programs)
		if err != nil {
			return nil, fmt.Errorf("image %q: %w", image.Ref, err)
		}
		arm64, err := random.Image(256, 1)
		if err != nil {
			return nil, err
		}
		index := mutate.AppendManifests(empty.Index,
			mutate.IndexAddendum{Add: amd64, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
			mutate.IndexAddendum{Add: arm64, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		)
		host, _, _ := strings.Cut(image.Ref, "/")
		target := strings.TrimPrefix(u.server.URL, "http://") + "/" + image.Ref
		to, err := name.ParseReference(target, name.Insecure)
		if err != nil {
			return nil, err
		}
		if err := remote.WriteIndex(to, index); err != nil {
			return nil, fmt.Errorf("push %q: %w", target, err)
		}
		digest, err := index.Digest()
		if err != nil {
			return nil, err
		}
		u.rewrites = append(u.rewrites, manifests.Rewrite{From: host, To: u.server.URL + "/" + host})
		overlay[role] = catalog.Image{Ref: image.Ref, Digest: digest.String()}
	}
	return overlay, nil
}

// image builds one layer of programs, and of the tools that they call.
func (c Config) image(role string, programs [][2]string) (v1.Image, error) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	if slices.Contains(callsTools, role) {
		if err := addTree(tw, c.ToolsRoot); err != nil {
			return nil, err
		}
	}
	for _, p := range programs {
		f, err := openBinary(c.Binaries, p[0])
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(f)
		f.Close()
		if err != nil {
			return nil, err
		}
		if err := tw.WriteHeader(&tar.Header{Name: strings.TrimPrefix(p[1], "/"), Mode: 0o755, Size: int64(len(b))}); err != nil {
			return nil, err
		}
		if _, err := tw.Write(b); err != nil {
			return nil, err
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	})
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, &v1.ConfigFile{
		OS: "linux", Architecture: "amd64",
		RootFS: v1.RootFS{Type: "layers", DiffIDs: diffIDs(layer)},
		Config: v1.Config{
			Entrypoint: []string{programs[0][1]},
			Env:        []string{"PATH=/opt/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		},
	})
}

func diffIDs(layers ...v1.Layer) []v1.Hash {
	var ids []v1.Hash
	for _, l := range layers {
		if id, err := l.DiffID(); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// addTree writes the regular files and symbolic links below root.
func addTree(tw *tar.Writer, root string) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var link string
		if info.Mode()&fs.ModeSymlink != 0 {
			if link, err = os.Readlink(p); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		h.Name = rel
		if err := tw.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(tw, f)
		return err
	})
}
