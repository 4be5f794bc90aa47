package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests/strict"
)

// Pushed is the result of Push.
type Pushed struct {
	// Reference is the bundle in the registry, "harbor.example/offk8s/bundle:root-<hex>".
	Reference string        `json:"reference"`
	Root      digest.Digest `json:"root"`
	Images    []PushedImage `json:"images"`
	// Blobs and Bytes are how much the bundle has, Sent and SentBytes the part of it that
	// the registry lacked.
	Blobs     int   `json:"blobs"`
	Bytes     int64 `json:"bytes"`
	Sent      int64 `json:"sent"`
	SentBytes int64 `json:"sentBytes"`
}

// PushedImage is an image under its name.
type PushedImage struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest"`
	// Reduced is set if the tag has an index with only those platforms that the bundle has,
	// since the registry refuses the original. Mirrors on the registry serve the original.
	Reduced bool `json:"reduced,omitempty"`
}

// PushOptions are the options of Push.
type PushOptions struct {
	Options
	// Progress is called with the bytes of blobs that the registry has so far and the
	// total, never concurrently; nil means not at all.
	Progress func(done, total int64)
}

// Push writes the bundle to address, "harbor.example/offk8s". What the registry has
// already is not sent again, so that a second Push continues an interrupted one. Each blob
// is compared with its digest while it is sent. The tags are set last.
func Push(ctx context.Context, b *bundle.Bundle, address string, o PushOptions) (*Pushed, error) {
	p := &pusher{b: b, progress: o.Progress}
	var err error
	if p.place, err = parsePlace(address, o.Options); err != nil {
		return nil, err
	}
	if p.place.root != "" {
		return nil, fmt.Errorf("%w: %q: the root is that of the bundle", ErrAddress, address)
	}
	tr, err := o.transport()
	if err != nil {
		return nil, err
	}
	if p.jobs = o.Jobs; p.jobs == 0 {
		p.jobs = 4
	}
	if p.to, err = remote.NewPusher(remote.WithTransport(tr), remote.WithAuthFromKeychain(o.keychain()), remote.WithJobs(p.jobs)); err != nil {
		return nil, err
	}
	if err := p.push(ctx); err != nil {
		if err = explain(ctx, err); errors.Is(err, reader.ErrMismatch) {
			err = fmt.Errorf("%w: %w", bundle.ErrVerify, err)
		}
		return nil, fmt.Errorf("push to %s: %w", p.place, err)
	}
	p.out.Sent, p.out.SentBytes = p.sent.Load(), p.sentBytes.Load()
	return &p.out, nil
}

type pusher struct {
	b     *bundle.Bundle
	place place
	to    *remote.Pusher
	jobs  int
	out   Pushed

	sent, sentBytes atomic.Int64

	mu       sync.Mutex
	progress func(done, total int64)
	done     int64
}

func (p *pusher) push(ctx context.Context) error {
	members := p.members()
	var layers []ocispec.Descriptor
	for _, m := range members {
		layers = append(layers, m.desc)
		p.out.Blobs++
		p.out.Bytes += m.desc.Size
	}
	m, err := json.Marshal(stored(layers, p.b.Root(), p.b.Lock()))
	switch {
	case err != nil:
		return err
	case len(m) > maxManifest:
		return fmt.Errorf("the bundle has %d files: a manifest of %d bytes, of which registries accept %d", len(members), len(m), maxManifest)
	}
	repo := p.place.bundles()
	empty := member{desc: ocispec.DescriptorEmptyJSON, open: bytesOf([]byte("{}"))}
	if err := p.each(ctx, append([]member{empty}, members...), func(ctx context.Context, m member) error {
		err := p.to.Upload(ctx, repo, &layer{m, p})
		if err == nil {
			p.report(m.desc.Size)
		}
		return err
	}); err != nil {
		return err
	}
	tag := repo.Tag(rootTag(p.b.Root()))
	p.out.Reference, p.out.Root = tag.String(), p.b.Root()
	body := raw{ocispec.MediaTypeImageManifest, m}
	if err := p.to.Push(ctx, tag, body); err != nil {
		return err
	}
	for _, e := range p.b.Images() {
		if err := p.image(ctx, e); err != nil {
			return fmt.Errorf("image %s: %w", e.Name, err)
		}
	}
	return p.to.Push(ctx, repo.Tag(latest), body)
}

// member is a member of the tarball.
type member struct {
	desc ocispec.Descriptor
	open func() (io.Reader, error) // verifies
}

func bytesOf(b []byte) func() (io.Reader, error) {
	return func() (io.Reader, error) { return bytes.NewReader(b), nil }
}

// head are the members before the blobs, in order.
var head = []string{bundle.MemberLayout, bundle.MemberIndex, bundle.MemberSignature, bundle.MemberSigstore, bundle.MemberReadme}

// members returns those of the tarball in order.
func (p *pusher) members() []member {
	var out []member
	for _, name := range head {
		if b := p.b.HeadFile(name); b != nil {
			out = append(out, member{describe(digest.FromBytes(b), int64(len(b)), name, "bundle/"+name), bytesOf(b)})
		}
	}
	titles := map[digest.Digest]string{}
	for _, f := range p.b.Files() {
		if _, ok := titles[f.Blob.Digest]; !ok {
			titles[f.Blob.Digest] = f.Group + "/" + f.Path
		}
	}
	for _, d := range p.b.Blobs() {
		desc, _ := p.b.Descriptor(d)
		out = append(out, member{describe(d, desc.Size, "", titles[d]), func() (io.Reader, error) {
			r, err := p.b.Blob(d)
			if err != nil {
				return nil, err
			}
			return reader.Verify(r, d, desc.Size), nil
		}})
	}
	return out
}

// describe returns the descriptor of a layer. member is the name of the member if it is
// not a blob; title is the name that other clients give the file when they pull it.
func describe(d digest.Digest, size int64, member, title string) ocispec.Descriptor {
	out := ocispec.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: size}
	for key, value := range map[string]string{annotationMember: member, ocispec.AnnotationTitle: title} {
		if value == "" {
			continue
		}
		if out.Annotations == nil {
			out.Annotations = map[string]string{}
		}
		out.Annotations[key] = value
	}
	return out
}

// each calls f for the members, several at a time.
func (p *pusher) each(ctx context.Context, members []member, f func(context.Context, member) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.jobs)
	for _, m := range members {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := f(ctx, m); err != nil {
				return fmt.Errorf("blob %s: %w", m.desc.Digest, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (p *pusher) report(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done += n; p.progress != nil {
		p.progress(min(p.done, p.out.Bytes), p.out.Bytes)
	}
}

// image gives an image its name: its blobs are mounted from the repository of the bundle.
func (p *pusher) image(ctx context.Context, e bundle.ImageEntry) error {
	repo, named, err := p.repository(e.Name)
	if err != nil {
		return err
	}
	var nodes []image.Node
	read := func(d ocispec.Descriptor) ([]byte, error) {
		r, err := p.b.Blob(d.Digest)
		if err != nil {
			return nil, err
		}
		return io.ReadAll(reader.Verify(io.NewSectionReader(r, 0, r.Size()), d.Digest, r.Size()))
	}
	absent := func(d ocispec.Descriptor) bool { return slices.Contains(e.Absent, d.Digest) }
	for n, err := range image.Walk(e.Descriptor, read, absent) {
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
	}
	for _, n := range slices.Backward(nodes) { // children first: registries look for them
		if err := p.mount(ctx, repo, n); err != nil {
			return err
		}
		body := raw{n.Descriptor.MediaType, n.Body}
		if n.Descriptor.Digest != e.Descriptor.Digest {
			if err := p.to.Push(ctx, repo.Digest(n.Descriptor.Digest.String()), body); err != nil {
				return err
			}
			continue
		}
		done := PushedImage{Digest: n.Descriptor.Digest}
		err := p.to.Push(ctx, named(done.Digest), body)
		if refused(err) && len(e.Absent) > 0 {
			done.Reduced = true
			if body.body, err = reduce(n.Body, e.Absent); err == nil {
				done.Digest = digest.FromBytes(body.body)
				err = p.to.Push(ctx, named(done.Digest), body)
			}
		}
		if err != nil {
			return err
		}
		done.Reference = named(done.Digest).String()
		p.out.Images = append(p.out.Images, done)
	}
	return nil
}

// refused reports whether a registry did not accept a manifest.
func refused(err error) bool {
	answer, ok := errors.AsType[*transport.Error](err)
	return ok && (answer.StatusCode == http.StatusBadRequest || answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusUnprocessableEntity)
}

// repository returns the place of an image under the prefix, and its reference there: its
// tag, or its digest if it has none. A port in its name is a dash there.
func (p *pusher) repository(ref string) (name.Repository, func(digest.Digest) name.Reference, error) {
	i, err := strict.ParseImage(ref)
	if err != nil {
		return name.Repository{}, nil, err
	}
	path := strings.ReplaceAll(strings.TrimPrefix(i.Host+"/"+i.Path, "/"), ":", "-")
	if _, err := name.NewRepository(p.place.String() + "/" + path); err != nil {
		return name.Repository{}, nil, err
	}
	repo := p.place.registry.Repo(p.place.prefix, path)
	return repo, func(d digest.Digest) name.Reference {
		if i.Tag == "" {
			return repo.Digest(d.String())
		}
		return repo.Tag(i.Tag)
	}, nil
}

// mount gives repo the blobs of a manifest.
func (p *pusher) mount(ctx context.Context, repo name.Repository, n image.Node) error {
	var members []member
	for _, d := range n.Blobs() {
		members = append(members, member{desc: d, open: func() (io.Reader, error) {
			r, err := p.b.Blob(d.Digest)
			if err != nil {
				return nil, err
			}
			return reader.Verify(r, d.Digest, d.Size), nil
		}})
	}
	return p.each(ctx, members, func(ctx context.Context, m member) error {
		from := p.place.bundles().Digest(m.desc.Digest.String())
		return p.to.Upload(ctx, repo, &remote.MountableLayer{Layer: &layer{m, p}, Reference: from})
	})
}

// reduce returns an index without the manifests that the bundle leaves out.
func reduce(index []byte, absent []digest.Digest) ([]byte, error) {
	var whole map[string]json.RawMessage
	var list []json.RawMessage
	if err := json.Unmarshal(index, &whole); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(whole["manifests"], &list); err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(m json.RawMessage) bool {
		var d struct{ Digest digest.Digest }
		return json.Unmarshal(m, &d) != nil || slices.Contains(absent, d.Digest)
	})
	var err error
	if whole["manifests"], err = json.Marshal(list); err != nil {
		return nil, err
	}
	return json.Marshal(whole)
}

// raw is a manifest as the library takes it.
type raw struct {
	mediaType string
	body      []byte
}

func (r raw) RawManifest() ([]byte, error)        { return r.body, nil }
func (r raw) MediaType() (types.MediaType, error) { return types.MediaType(r.mediaType), nil }

// layer is a blob as the library takes it. It counts what is sent.
type layer struct {
	member
	p *pusher
}

func (l *layer) Digest() (v1.Hash, error)             { return v1.NewHash(l.desc.Digest.String()) }
func (l *layer) DiffID() (v1.Hash, error)             { return l.Digest() }
func (l *layer) Size() (int64, error)                 { return l.desc.Size, nil }
func (l *layer) MediaType() (types.MediaType, error)  { return types.MediaType(l.desc.MediaType), nil }
func (l *layer) Uncompressed() (io.ReadCloser, error) { return l.Compressed() }

func (l *layer) Compressed() (io.ReadCloser, error) {
	r, err := l.open()
	if err != nil {
		return nil, err
	}
	l.p.sent.Add(1)
	return io.NopCloser(counter{r, &l.p.sentBytes}), nil
}

type counter struct {
	io.Reader
	n *atomic.Int64
}

func (c counter) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n.Add(int64(n))
	return n, err
}
