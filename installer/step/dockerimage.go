package step

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/reader"
)

// DockerImage is a container image in docker. The agent fetches the parts of the image by
// the digest of the signed Lock and streams them to `docker load` as an archive with
// the original name, since docker cannot pull images of most registries from a mirror.
//
// Docker names an image by the digest of its config, so that Check sees a tag that
// was moved to another image.
type DockerImage struct {
	NoUndo
	Name   string        `json:"name"`   // "registry.k8s.io/pause:3.1"
	Digest digest.Digest `json:"digest"` // of the index or the manifest
	Arch   string        `json:"arch"`   // of the host, "amd64"
}

func (*DockerImage) Kind() string { return "docker-image" }

func (i *DockerImage) Target() Target { return Target{Name: i.Name} }

func (i *DockerImage) Describe() string {
	return fmt.Sprintf("image %s %.19s in docker", i.Name, i.Digest)
}

func (i *DockerImage) Validate() error {
	errs := []error{(&Image{Name: i.Name, Digest: i.Digest}).Validate(), CheckName("arch", i.Arch)}
	if strings.LastIndexByte(i.Name, ':') <= strings.LastIndexByte(i.Name, '/') {
		errs = append(errs, fmt.Errorf("image %q: docker needs a tag", i.Name))
	}
	return errors.Join(errs...)
}

func (i *DockerImage) stampKey() string { return i.Kind() + "/" + i.Name }

// Check uses the stamp of the last Apply for the ID that belongs to Digest.
func (i *DockerImage) Check(ctx context.Context, env *Env) (Result, error) {
	id, known := strings.CutPrefix(env.Stamp(i.stampKey()), i.Digest.String()+" ")
	if !known {
		return Result{State: Differs, Reason: "not loaded yet"}, nil
	}
	reason, err := i.look(ctx, env, id)
	return CheckResult(ctx, reason, err)
}

// look compares the image of the name with id. Its call is the same for all images.
func (i *DockerImage) look(ctx context.Context, env *Env, id string) (reason string, err error) {
	out, err := env.Run.Run(ctx, Cmd{Argv: []string{
		dockerCLI, "image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}",
	}})
	if err != nil {
		return "", fmt.Errorf("docker image ls: %w", err)
	}
	for line := range strings.Lines(string(out.Stdout)) {
		name, found, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != familiar(i.Name) {
			continue
		}
		if found != id {
			return fmt.Sprintf("%s is another image, %.19s", i.Name, found), nil
		}
		return "", nil
	}
	return i.Name + " is not there", nil
}

// familiar returns a name as docker prints it, without its default registry.
func familiar(name string) string {
	short, hub := strings.CutPrefix(name, "docker.io/")
	if !hub {
		return name
	}
	return strings.TrimPrefix(short, "library/")
}

func (i *DockerImage) Apply(ctx context.Context, env *Env) (Result, error) {
	if err := i.load(ctx, env); err != nil {
		return Result{}, fmt.Errorf("load image %q: %w", i.Name, err)
	}
	return Result{State: Changed, Reason: "loaded " + i.Name}, nil
}

// errLoadEnded ends the archive if docker has read enough of it.
var errLoadEnded = errors.New("docker load ended")

func (i *DockerImage) load(ctx context.Context, env *Env) error {
	m, config, err := i.manifest(ctx, env)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := i.archive(ctx, env, w, m, config)
		_ = w.CloseWithError(err) // of an io.PipeWriter: always nil
		sent <- err
	}()
	out, err := env.Run.Run(ctx, Cmd{Argv: []string{dockerCLI, "load", "--quiet"}, Input: r, Timeout: slowTimeout})
	_ = r.CloseWithError(errLoadEnded)
	if sendErr := <-sent; sendErr != nil && !errors.Is(sendErr, errLoadEnded) {
		err = sendErr // docker only complains about the end of the archive
	}
	if err != nil {
		return err
	}
	id := m.Config.Digest.String()
	reason, err := i.look(ctx, env, id)
	if err == nil && reason != "" {
		err = fmt.Errorf("docker load printed %q, and yet %s", tail(said(out), 200), reason)
	}
	if err != nil {
		return err
	}
	return env.SetStamp(i.stampKey(), i.Digest.String()+" "+id)
}

// manifest returns the manifest for the host's platform and its config, both verified.
func (i *DockerImage) manifest(ctx context.Context, env *Env) (image.Node, []byte, error) {
	read := func(d ocispec.Descriptor) ([]byte, error) { return i.read(ctx, env, d) }
	other := func(d ocispec.Descriptor) bool {
		return d.Platform != nil && (d.Platform.OS != "linux" || d.Platform.Architecture != i.Arch)
	}
	for n, err := range image.Walk(ocispec.Descriptor{Digest: i.Digest}, read, other) {
		if err != nil {
			return image.Node{}, nil, err
		}
		if n.Config == nil {
			continue
		}
		config, err := read(*n.Config)
		if err != nil {
			return image.Node{}, nil, err
		}
		var p ocispec.Platform
		if err := json.Unmarshal(config, &p); err != nil {
			return image.Node{}, nil, fmt.Errorf("config %s: %w", n.Config.Digest, err)
		}
		if p.OS == "linux" && p.Architecture == i.Arch {
			return n, config, checkLayers(n.Layers)
		}
	}
	return image.Node{}, nil, fmt.Errorf("image %s has no manifest for linux/%s", i.Digest, i.Arch)
}

// checkLayers refuses layers that the docker of old minors does not unpack.
func checkLayers(layers []ocispec.Descriptor) error {
	for _, l := range layers {
		if t := l.MediaType; strings.HasSuffix(t, "zstd") || strings.Contains(t, "foreign") || strings.Contains(t, "encrypted") {
			return fmt.Errorf("layer %s has the media type %q, docker loads tar and gzip", l.Digest, t)
		}
	}
	return nil
}

// read returns a verified document of the image.
func (i *DockerImage) read(ctx context.Context, env *Env, d ocispec.Descriptor) ([]byte, error) {
	if d.Size > image.MaxSize {
		return nil, fmt.Errorf("document %s of %d bytes, allowed %d", d.Digest, d.Size, int64(image.MaxSize))
	}
	r, err := env.FetchImage(ctx, i.Digest, d.Digest)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", d.Digest, err)
	}
	defer r.Close()
	size := d.Size
	if size == 0 {
		size = reader.AnySize
	}
	return io.ReadAll(reader.Verify(reader.Limit(r, image.MaxSize), d.Digest, size))
}

// archive writes the format of `docker save`, with layers as they are in the bundle.
// manifest.json comes last: without it docker takes nothing from an archive that ends early.
func (i *DockerImage) archive(ctx context.Context, env *Env, w io.Writer, m image.Node, config []byte) error {
	t := tar.NewWriter(w)
	configName := m.Config.Digest.Encoded() + ".json"
	if err := addFile(t, configName, int64(len(config)), bytes.NewReader(config)); err != nil {
		return err
	}
	layers := []string{} // docker refuses null
	for _, l := range m.Layers {
		name := l.Digest.Encoded() + ".tar"
		if !slices.Contains(layers, name) {
			if err := i.addLayer(ctx, env, t, name, l); err != nil {
				return err
			}
		}
		layers = append(layers, name)
	}
	index, err := json.Marshal([]map[string]any{{"Config": configName, "RepoTags": []string{i.Name}, "Layers": layers}})
	if err != nil {
		return err
	}
	if err := addFile(t, "manifest.json", int64(len(index)), bytes.NewReader(index)); err != nil {
		return err
	}
	return t.Close()
}

func (i *DockerImage) addLayer(ctx context.Context, env *Env, t *tar.Writer, name string, l ocispec.Descriptor) error {
	r, err := env.FetchImage(ctx, i.Digest, l.Digest)
	if err != nil {
		return fmt.Errorf("fetch layer %s: %w", l.Digest, err)
	}
	defer r.Close()
	return addFile(t, name, l.Size, reader.Verify(r, l.Digest, l.Size))
}

func addFile(t *tar.Writer, name string, size int64, r io.Reader) error {
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := io.Copy(t, r)
	return err
}
