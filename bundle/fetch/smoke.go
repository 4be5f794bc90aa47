package fetch

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/selfbin"
	"github.com/offk8s/offk8s/manifests"
)

// SmokeURL is the source of the smoke image in a Lock.
const SmokeURL = "offk8s:smoke"

// SmokeName is the name of the smoke image of an offk8s version.
func SmokeName(version string) string {
	tag := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '_'
	}, version)
	return manifests.SmokeImage + ":" + strings.TrimLeft(tag, ".-")
}

// rebuildSmoke builds the smoke image of the Lock again, from the packing
// machine's binaries.
func (i *images) rebuildSmoke(ctx context.Context, a *manifests.Artifact) error {
	got, err := i.BuildSmoke(ctx)
	if err != nil {
		return err
	}
	if got != a.Source.Digest {
		return &MismatchError{What: "digest", Found: got.String(), Want: a.Source.Digest.String()}
	}
	return nil
}

// BuildSmoke builds an image of SelfBinaries in the store and returns the digest
// of its manifest or, for several architectures, of its index. The image is one
// layer with the static binary /offk8s. The same binaries give the same bytes;
// it has no timestamps.
func (e Env) BuildSmoke(ctx context.Context) (digest.Digest, error) {
	var list []ocispec.Descriptor
	for _, arch := range e.Arches {
		path, ok := e.SelfBinaries[arch]
		if !ok {
			return "", fmt.Errorf("offk8s binary for linux/%s was not given", arch)
		}
		if err := selfbin.Check(path, arch); err != nil {
			return "", err
		}
		d, err := e.smokeManifest(ctx, path, arch)
		if err != nil {
			return "", fmt.Errorf("smoke image for linux/%s: %w", arch, err)
		}
		list = append(list, d)
	}
	if len(list) == 1 {
		return list[0].Digest, nil
	}
	index, err := e.addJSON(ctx, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: list,
	})
	return index.Digest, err
}

func (e Env) smokeManifest(ctx context.Context, path, arch string) (ocispec.Descriptor, error) {
	layer, diffID, err := e.smokeLayer(ctx, path)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	platform := ocispec.Platform{Architecture: arch, OS: "linux"}
	config, err := e.addJSON(ctx, ocispec.Image{
		Platform: platform,
		Config:   ocispec.ImageConfig{Entrypoint: []string{"/offk8s", "smoke-server"}, WorkingDir: "/"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}},
	})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	config.MediaType = ocispec.MediaTypeImageConfig
	manifest, err := e.addJSON(ctx, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    config,
		Layers:    []ocispec.Descriptor{layer},
	})
	manifest.MediaType, manifest.Platform = ocispec.MediaTypeImageManifest, &platform
	return manifest, err
}

// smokeLayer stores the layer, compressed with gzip rather than zstd for the
// runtimes of old releases.
func (e Env) smokeLayer(ctx context.Context, path string) (layer ocispec.Descriptor, diffID digest.Digest, err error) {
	f, err := os.Open(path)
	if err != nil {
		return layer, "", err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return layer, "", err
	}
	sum := &counter{}
	pr, pw := io.Pipe()
	go func() {
		zw := gzip.NewWriter(pw)
		err := smokeTar(io.MultiWriter(zw, sum), f, fi.Size())
		if err == nil {
			err = zw.Close()
		}
		pw.CloseWithError(err)
	}()
	d, err := e.Store.Add(ctx, pr)
	pr.CloseWithError(err)
	if err != nil {
		return layer, "", err
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: d.Digest, Size: d.Size}, sum.digest(), nil
}

func smokeTar(w io.Writer, r io.Reader, size int64) error {
	tw := tar.NewWriter(w)
	header := tar.Header{
		Typeflag: tar.TypeReg, Name: "offk8s", Mode: 0o755, Size: size,
		ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
	}
	if err := tw.WriteHeader(&header); err != nil {
		return err
	}
	if _, err := io.Copy(tw, r); err != nil {
		return err
	}
	return tw.Close()
}

func (e Env) addJSON(ctx context.Context, v any) (ocispec.Descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d, err := e.Store.Add(ctx, bytes.NewReader(b))
	return ocispec.Descriptor{Digest: d.Digest, Size: d.Size}, err
}
