package fetch_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/manifests"
)

const (
	runcURL   = "https://github.com/opencontainers/runc/releases/download/v1.4.3/runc.amd64"
	etcdURL   = "https://github.com/etcd-io/etcd/releases/download/v3.6.14/etcd-v3.6.14-linux-amd64.tar.gz"
	pauseRef  = "registry.k8s.io/pause:3.10.2"
	chronyRPM = "https://dl.rockylinux.org/pub/rocky/9/AppStream/x86_64/os/Packages/chrony-2.0-1.el9.x86_64.rpm"
	chronyDeb = "apt:debian/pool/main/c/chrony/chrony_2.0-1_amd64.deb"
)

func file(t *testing.T, up *upstreamtest.Upstream, url string) []byte {
	t.Helper()
	b, ok := up.File(url)
	if !ok {
		t.Fatalf("nothing at %q", url)
	}
	return b
}

// payloadOf finds the request by the end of the artifact's address.
func payloadOf(group []manifests.Artifact, _ *upstreamtest.Upstream) string {
	url := group[0].Source.URL
	return url[strings.LastIndex(url, "/"):]
}

func move(t *testing.T, up *upstreamtest.Upstream, group []manifests.Artifact) {
	up.Replace(group[0].Source.URL, []byte("another release under the same name"))
}

func TestFilesPassTheSuite(t *testing.T) {
	runSuite(t, suiteCase{
		Kind: manifests.KindFile, Payload: payloadOf, Move: move,
		Group: func(t *testing.T, up *upstreamtest.Upstream) []manifests.Artifact {
			return []manifests.Artifact{{
				Kind: manifests.KindFile, Name: "runc", Platform: "linux/amd64", Group: "files", Path: "runc",
				Source: manifests.Source{URL: runcURL, Digest: digest.FromBytes(file(t, up, runcURL)), Trust: manifests.TrustCatalog},
			}}
		},
	})
}

func TestArchivesPassTheSuite(t *testing.T) {
	runSuite(t, suiteCase{
		Kind: manifests.KindFile, Payload: payloadOf, Move: move,
		Group: func(t *testing.T, up *upstreamtest.Upstream) []manifests.Artifact {
			var group []manifests.Artifact
			for _, name := range []string{"etcd", "etcdctl"} {
				group = append(group, manifests.Artifact{
					Kind: manifests.KindFile, Name: name, Platform: "linux/amd64", Group: "files", Path: name,
					Source: manifests.Source{
						URL: etcdURL, Digest: digest.SHA512.FromBytes(file(t, up, etcdURL)),
						Member: "etcd-v3.6.14-linux-amd64/" + name, Trust: manifests.TrustCatalog,
					},
				})
			}
			return group
		},
	})
}

func TestImagesPassTheSuite(t *testing.T) {
	runSuite(t, suiteCase{
		Kind: manifests.KindImage, Digests: true,
		Group: func(_ *testing.T, up *upstreamtest.Upstream) []manifests.Artifact {
			return []manifests.Artifact{{
				Kind: manifests.KindImage, Name: pauseRef,
				Source: manifests.Source{URL: pauseRef, Digest: digest.Digest(up.ImageDigest(pauseRef)), Trust: manifests.TrustCatalog},
			}}
		},
		Payload: func(_ []manifests.Artifact, up *upstreamtest.Upstream) string {
			return "/blobs/" + layerOf(up, "linux/amd64").String()
		},
		Move: func(t *testing.T, up *upstreamtest.Upstream, _ []manifests.Artifact) {
			if err := up.PushImage(pauseRef, "moved"); err != nil {
				t.Fatal(err)
			}
		},
	})
}

// layerOf asks the made-up registry for the layer of pause.
func layerOf(up *upstreamtest.Upstream, platform string) v1.Hash {
	get := func(reference string, v any) {
		resp, err := http.Get(up.URL + "/v2/registry.k8s.io/pause/manifests/" + reference)
		if err != nil {
			panic(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil {
			err = json.Unmarshal(b, v)
		}
		if err != nil {
			panic(err)
		}
	}
	var index v1.IndexManifest
	get(up.ImageDigest(pauseRef), &index)
	for _, m := range index.Manifests {
		if m.Platform.String() == platform {
			var manifest v1.Manifest
			get(m.Digest.String(), &manifest)
			return manifest.Layers[0].Digest
		}
	}
	panic("no manifest for " + platform)
}

func packageGroup(kind manifests.ArtifactKind, url, version, distro, group, path string) func(*testing.T, *upstreamtest.Upstream) []manifests.Artifact {
	return func(t *testing.T, up *upstreamtest.Upstream) []manifests.Artifact {
		b := file(t, up, url)
		return []manifests.Artifact{{
			Kind: kind, Name: "chrony", Version: version, Platform: "linux/amd64", Distro: distro, Group: group, Path: path,
			Source: manifests.Source{URL: url, Digest: digest.FromBytes(b), Size: int64(len(b)), Trust: manifests.TrustSignature},
		}}
	}
}

func TestRPMsPassTheSuite(t *testing.T) {
	runSuite(t, suiteCase{
		Kind: manifests.KindRPM, Payload: payloadOf, Move: move,
		Group: packageGroup(manifests.KindRPM, chronyRPM, "2.0-1.el9", "rocky-9", "yum/rocky-9/x86_64", "Packages/c/chrony-2.0-1.el9.x86_64.rpm"),
	})
}

func TestDebsPassTheSuite(t *testing.T) {
	runSuite(t, suiteCase{
		Kind: manifests.KindDeb, Payload: payloadOf, Move: move,
		Group: packageGroup(manifests.KindDeb, chronyDeb, "2.0-1", "debian-12", "apt/debian-12", "pool/c/chrony/chrony_2.0-1_amd64.deb"),
	})
}

func chartGroup(url string, d digest.Digest) []manifests.Artifact {
	return []manifests.Artifact{{
		Kind: manifests.KindChart, Name: "shop", Version: "1.2.3", Group: "charts", Path: "shop-1.2.3.tgz",
		Source: manifests.Source{URL: url, Digest: d, Trust: manifests.TrustChecksum},
	}}
}

func TestChartsPassTheSuite(t *testing.T) {
	runSuite(t, suiteCase{
		Kind: manifests.KindChart, Payload: payloadOf, Move: move,
		Group: func(t *testing.T, up *upstreamtest.Upstream) []manifests.Artifact {
			return chartGroup(upstreamtest.ChartURL, digest.FromBytes(file(t, up, upstreamtest.ChartURL)))
		},
	})
}

func TestChartsOfRegistriesPassTheSuite(t *testing.T) {
	const ref = "registry.k8s.io/charts/shop:1.2.3"
	push := func(t *testing.T, up *upstreamtest.Upstream, archive []byte) digest.Digest {
		t.Helper()
		d, err := up.PushChart(ref, archive)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	runSuite(t, suiteCase{
		Kind: manifests.KindChart, Digests: true,
		Group: func(t *testing.T, up *upstreamtest.Upstream) []manifests.Artifact {
			return chartGroup("oci://"+ref, push(t, up, file(t, up, upstreamtest.ChartURL)))
		},
		Payload: func(_ []manifests.Artifact, up *upstreamtest.Upstream) string {
			archive, _ := up.File(upstreamtest.ChartURL)
			return "/blobs/" + digest.FromBytes(archive).String()
		},
		Move: func(t *testing.T, up *upstreamtest.Upstream, _ []manifests.Artifact) {
			push(t, up, []byte("another chart"))
		},
	})
}

// An archive under the right digest that is another chart, or none, is refused: the mirror
// would serve it under a wrong name.
func TestChartsOfOtherNames(t *testing.T) {
	up, err := upstreamtest.Start(t)
	if err != nil {
		t.Fatal(err)
	}
	env := newEnv(t, up, new(atomic.Int64))
	other, err := upstreamtest.Shop("9.9.9")
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{string(other): "shop 9.9.9", "<html>": "is no Helm chart"} {
		up.Replace(upstreamtest.ChartURL, []byte(content))
		group := chartGroup(upstreamtest.ChartURL, digest.FromString(content))
		for _, f := range fetch.Fetchers(env) {
			if f.Kind() != manifests.KindChart {
				continue
			}
			if err := f.Fetch(t.Context(), []*manifests.Artifact{&group[0]}, fetch.Silent().Start("", 0)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	}
}
