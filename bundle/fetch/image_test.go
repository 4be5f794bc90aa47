package fetch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/manifests"
)

func TestParseImage(t *testing.T) {
	d := digest.FromString("x")
	tests := []struct {
		ref  string
		want fetch.ImageRef
	}{
		{"registry.k8s.io/pause:3.10", fetch.ImageRef{Name: "registry.k8s.io/pause:3.10", Repo: "registry.k8s.io/pause", Tag: "3.10"}},
		{"nginx", fetch.ImageRef{Name: "docker.io/library/nginx:latest", Repo: "docker.io/library/nginx", Tag: "latest"}},
		{"docker.io/flannel/flannel:v1", fetch.ImageRef{Name: "docker.io/flannel/flannel:v1", Repo: "docker.io/flannel/flannel", Tag: "v1"}},
		{"localhost:5000/a/b:1", fetch.ImageRef{Name: "localhost:5000/a/b:1", Repo: "localhost:5000/a/b", Tag: "1"}},
		{"quay.io/a/b:1@" + d.String(), fetch.ImageRef{Name: "quay.io/a/b:1", Repo: "quay.io/a/b", Tag: "1", Digest: d}},
		{"quay.io/a/b@" + d.String(), fetch.ImageRef{Name: "quay.io/a/b@" + d.String(), Repo: "quay.io/a/b", Digest: d}},
	}
	for _, tt := range tests {
		got, err := fetch.ParseImage(tt.ref)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("ParseImage(%q): %v (-want +got):\n%s", tt.ref, err, diff)
		}
	}
	for _, bad := range []string{"", "UPPER/case:1", "a/b@sha256:short", "a/b@sha256:../../../../etc", "a/../b:1", "a b:1"} {
		if got, err := fetch.ParseImage(bad); err == nil {
			t.Errorf("ParseImage(%q) = %+v, want an error", bad, got)
		}
	}
}

// fakeRegistry serves documents under any repository by their digest.
type fakeRegistry struct {
	docs  map[digest.Digest][]byte
	types map[digest.Digest]string
}

func (f *fakeRegistry) add(mediaType string, v any) ocispec.Descriptor {
	b, ok := v.([]byte)
	if !ok {
		b, _ = json.Marshal(v)
	}
	d := digest.FromBytes(b)
	f.docs[d], f.types[d] = b, mediaType
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d := digest.Digest(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
	b, ok := f.docs[d]
	if r.URL.Path != "/v2/" && !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", f.types[d])
	_, _ = w.Write(b)
}

type object = map[string]any

const (
	index    = ocispec.MediaTypeImageIndex
	manifest = ocispec.MediaTypeImageManifest
)

// imageCase makes an image around a good manifest for linux/amd64.
type imageCase struct {
	name string
	root func(f *fakeRegistry, good ocispec.Descriptor) ocispec.Descriptor
	want string // in the error; empty: accepted
}

func TestT23Images(t *testing.T) {
	for _, tt := range append(indexCases(), manifestCases()...) {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeRegistry{docs: map[digest.Digest][]byte{}, types: map[digest.Digest]string{}}
			layer := f.add(ocispec.MediaTypeImageLayerGzip, []byte("layer"))
			good := f.add(manifest, object{"schemaVersion": 2, "mediaType": manifest, "config": config(f, "amd64"), "layers": []any{layer}})
			err := pull(t, f, tt.root(f, good).Digest, nil)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func indexCases() []imageCase {
	amd64 := &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	return []imageCase{
		{"good manifest", func(_ *fakeRegistry, good ocispec.Descriptor) ocispec.Descriptor { return good }, ""},
		{"good index", func(f *fakeRegistry, good ocispec.Descriptor) ocispec.Descriptor {
			good.Platform = amd64
			return f.add(index, object{"schemaVersion": 2, "mediaType": index, "manifests": []any{good}})
		}, ""},
		{"other media type than its index says", func(f *fakeRegistry, good ocispec.Descriptor) ocispec.Descriptor {
			good.Platform, good.MediaType = amd64, "application/vnd.docker.distribution.manifest.v2+json"
			return f.add(index, object{"schemaVersion": 2, "mediaType": index, "manifests": []any{good}})
		}, "media type"},
		{"other size than its index says", func(f *fakeRegistry, good ocispec.Descriptor) ocispec.Descriptor {
			good.Platform, good.Size = amd64, good.Size+1
			return f.add(index, object{"schemaVersion": 2, "mediaType": index, "manifests": []any{good}})
		}, "manifest size"},
		{"index and manifest at once", func(f *fakeRegistry, good ocispec.Descriptor) ocispec.Descriptor {
			return f.add(index, object{"schemaVersion": 2, "mediaType": index, "manifests": []any{good}, "layers": []any{}})
		}, "at once"},
		{"index in index in index", func(f *fakeRegistry, good ocispec.Descriptor) ocispec.Descriptor {
			good.Platform = amd64
			for range 3 {
				good = f.add(index, object{"schemaVersion": 2, "mediaType": index, "manifests": []any{good}})
			}
			return good
		}, "deep"},
	}
}

func manifestCases() []imageCase {
	return []imageCase{
		{"schema 1", func(f *fakeRegistry, _ ocispec.Descriptor) ocispec.Descriptor {
			return f.add("application/vnd.docker.distribution.manifest.v1+json", object{"schemaVersion": 1})
		}, "schema version"},
		{"foreign layer", func(f *fakeRegistry, _ ocispec.Descriptor) ocispec.Descriptor {
			layer := f.add("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", []byte("layer"))
			return f.add(manifest, object{"schemaVersion": 2, "mediaType": manifest, "config": config(f, "amd64"), "layers": []any{layer}})
		}, "foreign"},
		{"layer with an address of its own", func(f *fakeRegistry, _ ocispec.Descriptor) ocispec.Descriptor {
			layer := f.add(ocispec.MediaTypeImageLayerGzip, []byte("layer"))
			layer.URLs = []string{"http://169.254.169.254/"}
			return f.add(manifest, object{"schemaVersion": 2, "mediaType": manifest, "config": config(f, "amd64"), "layers": []any{layer}})
		}, "169.254.169.254"},
		{"digest that is a path", func(f *fakeRegistry, _ ocispec.Descriptor) ocispec.Descriptor {
			layer := object{"mediaType": ocispec.MediaTypeImageLayerGzip, "digest": "sha256:../../../../tmp/x", "size": 1}
			return f.add(manifest, object{"schemaVersion": 2, "mediaType": manifest, "config": config(f, "amd64"), "layers": []any{layer}})
		}, "digest"},
		{"monstrous layer", func(f *fakeRegistry, _ ocispec.Descriptor) ocispec.Descriptor {
			layer := object{"mediaType": ocispec.MediaTypeImageLayerGzip, "digest": digest.FromString("x"), "size": int64(1) << 50}
			return f.add(manifest, object{"schemaVersion": 2, "mediaType": manifest, "config": config(f, "amd64"), "layers": []any{layer}})
		}, "too large"},
		{"monstrous manifest", func(f *fakeRegistry, _ ocispec.Descriptor) ocispec.Descriptor {
			return f.add(manifest, object{"schemaVersion": 2, "annotations": object{"x": strings.Repeat("x", 5<<20)}})
		}, "too large"},
		{"other architecture", func(f *fakeRegistry, _ ocispec.Descriptor) ocispec.Descriptor {
			return f.add(manifest, object{"schemaVersion": 2, "mediaType": manifest, "config": config(f, "s390x"), "layers": []any{}})
		}, "linux/s390x"},
		{"index without our architecture", func(f *fakeRegistry, good ocispec.Descriptor) ocispec.Descriptor {
			good.Platform = &ocispec.Platform{OS: "linux", Architecture: "riscv64"}
			return f.add(index, object{"schemaVersion": 2, "mediaType": index, "manifests": []any{good}})
		}, "linux/amd64"},
	}
}

// Entries of an index that are no images, or whose platform only the config names.
func TestIndexEntries(t *testing.T) {
	other := "application/vnd.example.thing.v1+json"
	single := func(f *fakeRegistry, config ocispec.Descriptor) ocispec.Descriptor {
		return f.add(manifest, object{"schemaVersion": 2, "mediaType": manifest, "config": config, "layers": []any{}})
	}
	chart := func(f *fakeRegistry) ocispec.Descriptor {
		return single(f, f.add("application/vnd.cncf.helm.config.v1+json", object{"name": "chart"}))
	}
	list := func(f *fakeRegistry, entries ...ocispec.Descriptor) ocispec.Descriptor {
		return f.add(index, object{"schemaVersion": 2, "mediaType": index, "manifests": entries})
	}
	forArch := func(f *fakeRegistry, arch string) ocispec.Descriptor { return single(f, config(f, arch)) }
	tests := []struct {
		name   string
		root   func(f *fakeRegistry) ocispec.Descriptor
		want   string // in the error; empty: accepted
		absent int
	}{
		{"no platforms", func(f *fakeRegistry) ocispec.Descriptor { return list(f, forArch(f, "amd64"), forArch(f, "arm64")) }, "", 1},
		{"no platforms, the other first", func(f *fakeRegistry) ocispec.Descriptor {
			return list(f, forArch(f, "arm64"), forArch(f, "s390x"), forArch(f, "amd64"))
		}, "", 2},
		{"no platforms, not ours", func(f *fakeRegistry) ocispec.Descriptor { return list(f, forArch(f, "arm64")) }, "has no image for linux/amd64", 0},
		{"no platforms below an index", func(f *fakeRegistry) ocispec.Descriptor {
			return list(f, list(f, forArch(f, "amd64"), forArch(f, "arm64")))
		}, "", 1},
		{"unknown entry", func(f *fakeRegistry) ocispec.Descriptor {
			return list(f, f.add(other, object{"x": 1}), forArch(f, "amd64"))
		}, "", 1},
		{"unknown entry of a gigabyte", func(f *fakeRegistry) ocispec.Descriptor {
			big := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString("layer of a cache"), Size: 1 << 30}
			return list(f, big, forArch(f, "amd64"))
		}, "", 1},
		{"unknown entry with our platform", func(f *fakeRegistry) ocispec.Descriptor {
			d := f.add(other, object{"x": 1})
			d.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
			return list(f, d)
		}, "has no image for linux/amd64", 0},
		{"only unknown entries", func(f *fakeRegistry) ocispec.Descriptor { return list(f, f.add(other, object{"x": 1})) }, "has no image for linux/amd64", 0},
		{"artifact in an index", func(f *fakeRegistry) ocispec.Descriptor { return list(f, chart(f), forArch(f, "amd64")) }, "", 1},
		{"config without a platform in an index", func(f *fakeRegistry) ocispec.Descriptor {
			return list(f, single(f, f.add(ocispec.MediaTypeImageConfig, object{})), forArch(f, "amd64"))
		}, "", 1},
		{"artifact alone", chart, "is no container image but an artifact (application/vnd.cncf.helm.config.v1+json)", 0},
		{"config without a platform alone", func(f *fakeRegistry) ocispec.Descriptor {
			return single(f, f.add(ocispec.MediaTypeImageConfig, object{}))
		}, "its config names no operating system and architecture", 0},
		{"config without an architecture alone", func(f *fakeRegistry) ocispec.Descriptor {
			return single(f, f.add(ocispec.MediaTypeImageConfig, object{"os": "linux"}))
		}, "its config names no architecture", 0},
		{"for one other architecture", func(f *fakeRegistry) ocispec.Descriptor { return forArch(f, "arm64") }, "is an image for linux/arm64, want linux/amd64", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeRegistry{docs: map[digest.Digest][]byte{}, types: map[digest.Digest]string{}}
			a, err := pullArtifact(t, f, tt.root(f).Digest, nil)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if len(a.Absent) != tt.absent {
				t.Errorf("left out %v, want %d", a.Absent, tt.absent)
			}
		})
	}
}

func config(f *fakeRegistry, arch string) ocispec.Descriptor {
	return f.add(ocispec.MediaTypeImageConfig, object{"os": "linux", "architecture": arch})
}

// pull fetches example.com/made/up by digest from h.
func pull(t *testing.T, h http.Handler, root digest.Digest, keychain authn.Keychain) error {
	t.Helper()
	_, err := pullArtifact(t, h, root, keychain)
	return err
}

func pullArtifact(t *testing.T, h http.Handler, root digest.Digest, keychain authn.Keychain) (*manifests.Artifact, error) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	up, err := upstreamtest.Start(t)
	if err != nil {
		t.Fatal(err)
	}
	var sleeps atomic.Int64
	env := newEnv(t, up, &sleeps)
	env.Client = newClient(t, fetch.Options{
		Attempts: 2, Keychain: keychain, AllowPrivate: true,
		Rewrites: []manifests.Rewrite{{From: "example.com", To: s.URL}},
	})
	a := &manifests.Artifact{
		Kind: manifests.KindImage, Name: "example.com/made/up:1",
		Source: manifests.Source{URL: "example.com/made/up:1", Digest: root, Trust: manifests.TrustCatalog},
	}
	for _, f := range fetch.Fetchers(env) {
		if f.Kind() == manifests.KindImage {
			return a, f.Fetch(context.Background(), []*manifests.Artifact{a}, fetch.Silent().Start("", 0))
		}
	}
	return a, errors.New("no fetcher of images")
}

type oneLogin struct{}

func (oneLogin) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: "user", Password: "secret"}, nil
}

// A hostile registry names its own token service: the password must not go there.
func TestT24RealmElsewhereGetsNoCredentials(t *testing.T) {
	var leaked atomic.Value
	realm := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if h := r.Header.Get("Authorization"); h != "" {
			leaked.Store(h)
		}
		_, _ = fmt.Fprint(w, `{"token": "t"}`)
	})
	// Another name of loopback, so that it is another host that still answers.
	realm = strings.Replace(realm, "127.0.0.1", "localhost", 1)
	registry := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`/token",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	err := pull(t, registry, digest.FromString("x"), oneLogin{})
	if err == nil || !strings.Contains(err.Error(), "credentials") {
		t.Errorf("got %v, want a refusal", err)
	}
	if v := leaked.Load(); v != nil {
		t.Errorf("token service elsewhere got %q", v)
	}
}
