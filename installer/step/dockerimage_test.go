package step_test

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
	"github.com/offk8s/offk8s/test/testenv"
)

// dockerHost is a host with a docker that remembers what it loaded.
type dockerHost struct {
	*steptest.World
	archive map[string]string // the last one, by file name
	order   []string
	images  map[string]string // ID by name
	stdin   error
}

func newDockerHost(t *testing.T) *dockerHost {
	t.Helper()
	h := &dockerHost{World: steptest.New(t), images: map[string]string{}}
	h.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		switch strings.Join(c.Argv[1:3], " ") {
		case "image ls":
			out := ""
			for name, id := range h.images {
				out += name + " " + id + "\n"
			}
			return steptest.Say(out)
		case "load --quiet":
			return h.load(c)
		}
		return step.Output{}, &step.NotFoundError{Name: c.Argv[0]}
	}
	return h
}

// load reads an archive as docker does: it takes nothing unless manifest.json is there.
func (h *dockerHost) load(c step.Cmd) (step.Output, error) {
	h.archive, h.order = map[string]string{}, nil
	for r := tar.NewReader(c.Input); ; {
		hdr, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			var b []byte
			b, err = io.ReadAll(r)
			h.archive[hdr.Name] = string(b)
			h.order = append(h.order, hdr.Name)
		}
		if err != nil {
			h.stdin = err
			return steptest.Exit(c.Argv, 1, "unexpected EOF")
		}
	}
	var list []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal([]byte(h.archive["manifest.json"]), &list); err != nil {
		return steptest.Exit(c.Argv, 1, err.Error())
	}
	for _, i := range list {
		for _, name := range i.RepoTags {
			h.images[strings.TrimPrefix(name, "docker.io/")] = digest.FromString(h.archive[i.Config]).String()
		}
	}
	return steptest.Say("Loaded image: x\n")
}

func (h *dockerHost) json(t *testing.T, mediaType string, v any) ocispec.Descriptor {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: h.Artifact(string(b)), Size: int64(len(b))}
}

// manifest puts an image of two layers, the first of which it has twice, on the mirror.
func (h *dockerHost) manifest(t *testing.T, arch, mediaType, layerType string) ocispec.Descriptor {
	t.Helper()
	layer := func(content string) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: layerType, Digest: h.Artifact(content), Size: int64(len(content))}
	}
	a, b := layer("layer a of "+arch), layer("layer b of "+arch)
	config := h.json(t, ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: arch},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{a.Digest, b.Digest, a.Digest}},
	})
	d := h.json(t, mediaType, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType, Config: config, Layers: []ocispec.Descriptor{a, b, a},
	})
	d.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
	return d
}

func (h *dockerHost) index(t *testing.T, manifests ...ocispec.Descriptor) digest.Digest {
	t.Helper()
	return h.json(t, ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests,
	}).Digest
}

// Every form of an image arrives whole, for the architecture of the host.
func TestDockerImage(t *testing.T) {
	oci := func(h *dockerHost, arch string) ocispec.Descriptor {
		return h.manifest(t, arch, ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageLayerGzip)
	}
	schema2 := func(h *dockerHost, arch string) ocispec.Descriptor {
		return h.manifest(t, arch, image.MediaTypeDockerManifest, "application/vnd.docker.image.rootfs.diff.tar.gzip")
	}
	for name, build := range map[string]func(*dockerHost) digest.Digest{
		"index": func(h *dockerHost) digest.Digest {
			provenance := oci(h, "s390x")
			provenance.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
			return h.index(t, provenance, oci(h, "arm64"), schema2(h, "amd64"))
		},
		"index without a platform": func(h *dockerHost) digest.Digest {
			amd := oci(h, "amd64")
			amd.Platform = nil
			return h.index(t, oci(h, "arm64"), amd)
		},
		"docker manifest": func(h *dockerHost) digest.Digest { return schema2(h, "amd64").Digest },
		"OCI manifest":    func(h *dockerHost) digest.Digest { return oci(h, "amd64").Digest },
	} {
		h := newDockerHost(t)
		i := &step.DockerImage{Name: "docker.io/rancher/x:1", Digest: build(h), Arch: "amd64"}
		steptest.Suite(t, steptest.Case{Name: name, World: h.World, Step: i})
		var got []struct{ Layers []string }
		if err := json.Unmarshal([]byte(h.archive["manifest.json"]), &got); err != nil {
			t.Fatal(err)
		}
		var layers []string
		for _, l := range got[0].Layers {
			layers = append(layers, h.archive[l])
		}
		if diff := cmp.Diff([]string{"layer a of amd64", "layer b of amd64", "layer a of amd64"}, layers); diff != "" {
			t.Errorf("%s: layers:\n%s", name, diff)
		}
		if n := len(h.order); n != 4 || h.order[n-1] != "manifest.json" {
			t.Errorf("%s: order %q", name, h.order)
		}
	}
}

// A tag that was moved is seen, and leads back to the image of the bundle.
func TestDockerImageMovedTag(t *testing.T) {
	h := newDockerHost(t)
	d := h.manifest(t, "amd64", ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageLayer).Digest
	i := &step.DockerImage{Name: "registry.k8s.io/pause:3.1", Digest: d, Arch: "amd64"}
	env := h.Env()
	for _, move := range []func(){
		func() { h.images[i.Name] = digest.FromString("other").String() },
		func() { delete(h.images, i.Name) },
	} {
		if _, err := i.Apply(t.Context(), env); err != nil {
			t.Fatal(err)
		}
		if res, err := i.Check(t.Context(), env); res.State != step.OK || err != nil {
			t.Fatalf("after apply: %s %q, %v", res.State, res.Reason, err)
		}
		move()
		if res, err := i.Check(t.Context(), env); res.State != step.Differs || err != nil {
			t.Errorf("moved tag: %s, %v", res.State, err)
		}
	}
	// Another bundle has another image of that name.
	i.Digest = h.manifest(t, "amd64", image.MediaTypeDockerManifest, ocispec.MediaTypeImageLayer).Digest
	if res, _ := i.Check(t.Context(), env); res.State != step.Differs {
		t.Error("another digest is not seen")
	}
}

// Nothing of an image that was altered on its way, or that docker cannot unpack, is loaded.
func TestDockerImageRefused(t *testing.T) {
	manifest := func(h *dockerHost, layerType string) digest.Digest {
		return h.manifest(t, "amd64", ocispec.MediaTypeImageManifest, layerType).Digest
	}
	for name, tt := range map[string]struct {
		build func(*dockerHost) digest.Digest
		want  string
	}{
		"layer": {func(h *dockerHost) digest.Digest {
			d := manifest(h, ocispec.MediaTypeImageLayerGzip)
			h.Forge(digest.FromString("layer b of amd64"), "evil  b of amd64")
			return d
		}, "digest"},
		"longer layer": {func(h *dockerHost) digest.Digest {
			d := manifest(h, ocispec.MediaTypeImageLayerGzip)
			h.Forge(digest.FromString("layer b of amd64"), "layer b of amd64 and more")
			return d
		}, ""},
		"manifest": {func(h *dockerHost) digest.Digest {
			d := manifest(h, ocispec.MediaTypeImageLayerGzip)
			h.Forge(d, "{}")
			return d
		}, "digest"},
		"zstd": {func(h *dockerHost) digest.Digest { return manifest(h, ocispec.MediaTypeImageLayerZstd) }, "media type"},
		"other platform": {func(h *dockerHost) digest.Digest {
			return h.manifest(t, "arm64", image.MediaTypeDockerManifest, "").Digest
		}, "no manifest for linux/amd64"},
	} {
		h := newDockerHost(t)
		d := tt.build(h)
		i := &step.DockerImage{Name: "r/x:1", Digest: d, Arch: "amd64"}
		if _, err := i.Apply(t.Context(), h.Env()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
		if len(h.images) > 0 {
			t.Errorf("%s: docker has %v", name, h.images)
		}
	}
	for _, i := range []step.DockerImage{
		{Name: "r/x", Digest: digest.FromString("x"), Arch: "amd64"},
		{Name: "r/x:1", Digest: "sha256:0", Arch: "amd64"},
		{Name: "r/x:1", Digest: digest.FromString("x")},
	} {
		if i.Validate() == nil {
			t.Errorf("%+v is accepted", i)
		}
	}
}

// Other readers of docker's archives understand it.
func TestDockerArchiveForSkopeo(t *testing.T) {
	testenv.NeedTool(t, "skopeo")
	h := newDockerHost(t)
	file := filepath.Join(t.TempDir(), "x.tar")
	h.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		if !slices.Contains(c.Argv, "load") {
			return step.Output{}, errors.New("no docker")
		}
		b, err := io.ReadAll(c.Input)
		if err == nil {
			err = os.WriteFile(file, b, 0o600)
		}
		return step.Output{}, err
	}
	d := h.manifest(t, "amd64", ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageLayer).Digest
	_, err := (&step.DockerImage{Name: "registry.k8s.io/pause:3.1", Digest: d, Arch: "amd64"}).Apply(t.Context(), h.Env())
	if err == nil || !strings.Contains(err.Error(), "no docker") {
		t.Fatalf("apply: %v", err)
	}
	out, err := exec.Command("skopeo", "inspect", "--format", "{{.Name}} {{len .Layers}}", "docker-archive:"+file+":registry.k8s.io/pause:3.1").CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), " 3") {
		t.Errorf("%v: %s", err, out)
	}
}
