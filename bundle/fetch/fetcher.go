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
	// Fetch gets the artifacts of group, which all come from the same source
	// (see Group), and fills Blob, Plain and Absent. Where those are filled
	// already the content must be the same: otherwise ErrMismatch. What the store
	// holds is not downloaded again. Progress of the download goes to task.
	Fetch(ctx context.Context, group []*manifests.Artifact, task Task) error
}

// Env is what the fetchers work with.
type Env struct {
	Client *Client
	Store  *store.Store
	// Compress returns the encoder for what is stored compressed; it must be
	// deterministic, and Encoding names its settings.
	Compress func(io.Writer) (io.WriteCloser, error)
	Encoding string
	// Arches are the architectures whose part of an image is taken.
	Arches []string
	// Keyring returns the keys that may have signed a package.
	Keyring func(*manifests.Artifact) (*trust.Keyring, error)
	// SelfBinaries are offk8s binaries by architecture, for those of the Lock
	// that the store does not hold.
	SelfBinaries map[string]string
}

// Fetchers returns one fetcher for each kind there is.
func Fetchers(e Env) []Fetcher {
	return []Fetcher{
		&files{e},
		newImages(e),
		&rpms{e},
		&debs{e},
	}
}

// Group puts artifacts of the same kind and source together, in the order of
// their first appearance: one archive is downloaded and unpacked once.
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

// Label is what a person calls a group: "kube-apiserver, kubelet … 1.36.3 (linux/amd64)".
func Label(group []*manifests.Artifact) string {
	first := group[0]
	label := first.Name
	if len(group) > 1 {
		label += ", …"
	}
	if first.Kind != manifests.KindImage && first.Version != "" {
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

// fill sets what was stored for a, or compares it with what a says already.
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
