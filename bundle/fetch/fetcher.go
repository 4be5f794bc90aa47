package fetch

import (
	"context"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// Fetcher brings artifacts of one kind into the content store.
type Fetcher interface {
	Kind() manifests.ArtifactKind
	// Fetch downloads the artifacts of group, which all have the same source
	// (see Group), and sets their Blob, Plain and Absent. If these are set
	// already and the content is different, the error is ErrMismatch. Content of
	// the store is not downloaded again. Progress is reported to task.
	Fetch(ctx context.Context, group []*manifests.Artifact, task Task) error
}

// Env is the environment of the fetchers. It is not changed after it was passed
// to Fetchers.
type Env struct {
	Client *Client
	Store  *store.Store
	// Compress returns the encoder for compressed storage. It must be
	// deterministic; Encoding names its settings.
	Compress func(io.Writer) (io.WriteCloser, error)
	Encoding string
	// Arches are the architectures of images to download.
	Arches []string
	// Keyring returns the keys that may have signed a package.
	Keyring func(*manifests.Artifact) (*trust.Keyring, error)
	// SelfBinaries are the paths of offk8s binaries by architecture, for the
	// binaries of the Lock that are not in the store.
	SelfBinaries map[string]string
	// Packages gets the headers of packages that were checked; nil keeps none.
	Packages *Packages
}

// Fetchers returns one fetcher for each artifact kind.
func Fetchers(e Env) []Fetcher {
	images := newImages(e)
	return []Fetcher{
		&files{e},
		images,
		&attachments{images},
		&charts{images},
		&rpms{e},
		&debs{e},
	}
}

// Group groups artifacts of the same kind and source, in the order of their
// first appearance, so that an archive is downloaded and unpacked once.
func Group(artifacts []manifests.Artifact) [][]*manifests.Artifact {
	var out [][]*manifests.Artifact
	index := map[string]int{}
	for i := range artifacts {
		a := &artifacts[i]
		key := strings.Join([]string{string(a.Kind), a.Source.URL, a.Source.Digest.String()}, "\n")
		n, ok := index[key]
		if !ok {
			n = len(out)
			index[key] = n
			out = append(out, nil)
		}
		out[n] = append(out[n], a)
	}
	return out
}

// Label returns the name of a group for messages: "kube-apiserver, … 1.36.3
// (linux/amd64)".
func Label(group []*manifests.Artifact) string {
	first := group[0]
	label := first.Name
	if len(group) > 1 {
		label += ", …"
	}
	if !first.Kind.InRegistry() && first.Version != "" {
		label += " " + first.Version
	}
	if first.Distro != "" {
		return label + " (" + first.Distro + ")"
	}
	if first.Platform != "" {
		return label + " (" + first.Platform + ")"
	}
	return label
}

// fill sets Plain and Blob of a, or compares them if they are set already.
func fill(a *manifests.Artifact, plain, blob manifests.Descriptor) error {
	for _, d := range []struct {
		what string
		have *manifests.Descriptor
		got  manifests.Descriptor
	}{{"plain", &a.Plain, plain}, {"blob", &a.Blob, blob}} {
		if !d.have.IsZero() && (d.have.Digest != d.got.Digest || d.have.Size != d.got.Size) {
			return &MismatchError{What: d.what + " digest", Found: describe(d.got), Want: describe(*d.have)}
		}
	}
	a.Plain, a.Blob = plain, blob
	return nil
}

func describe(d manifests.Descriptor) string {
	return string(d.Digest)
}

// partial returns the part file of a download.
func (e Env) partial(url string, want digest.Digest) (string, error) {
	if want == "" {
		want = digest.FromString(url)
	}
	return e.Store.Partial(want)
}
