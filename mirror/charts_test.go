package mirror

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/chart"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/manifests"
)

// shopArchive returns the chart shop.
func shopArchive(t testing.TB, version string) []byte {
	t.Helper()
	b, err := upstreamtest.Shop(version)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// withCharts adds two versions of the chart shop to a bundle.
func withCharts(t testing.TB) func(*bundletest.Builder) {
	return func(b *bundletest.Builder) {
		for _, version := range []string{"1.2.3", "2.0.0+b1"} {
			archive := shopArchive(t, version)
			content, err := chart.Read(bytes.NewReader(archive))
			if err != nil {
				t.Fatal(err)
			}
			b.Lock.Artifacts = append(b.Lock.Artifacts, manifests.Artifact{
				Kind: manifests.KindChart, Name: "shop", Version: version, Mode: 0o644,
				Group: manifests.GroupCharts, Path: manifests.ChartPath("shop", version),
				Source: manifests.Source{URL: upstreamtest.ChartURL, Trust: manifests.TrustChecksum},
				Blob:   b.Blob(manifests.MediaTypeFile, archive), Chart: &manifests.Chart{Metadata: content.Metadata},
			})
		}
	}
}

func TestChartRepository(t *testing.T) {
	m := mirrorOf(t, Options{}, newSample(t, withCharts(t)).Bundle)
	index := get(m, http.MethodGet, "/charts/index.yaml")
	data := []byte(body(t, index))
	if index.Header.Get("Content-Type") != typeYAML {
		t.Errorf("type %q", index.Header.Get("Content-Type"))
	}
	for _, version := range []string{"1.2.3", "2.0.0+b1"} {
		r, err := chart.Find(data, "http://mirror:8080/charts", "shop", version)
		if err != nil {
			t.Fatal(err)
		}
		path, _ := strings.CutPrefix(r.URL, "http://mirror:8080")
		if got := body(t, get(m, http.MethodGet, path)); digest.FromString(got) != r.Digest || got != string(shopArchive(t, version)) {
			t.Errorf("%s: digest %s, the index says %s", path, digest.FromString(got), r.Digest)
		}
	}
	if list := body(t, get(m, http.MethodGet, "/charts/")); !strings.Contains(list, "index.yaml") || !strings.Contains(list, "shop-1.2.3.tgz") {
		t.Errorf("directory: %s", list)
	}
	if sums := body(t, get(m, http.MethodGet, "/charts/SHA256SUMS")); !strings.Contains(sums, digest.FromBytes(shopArchive(t, "1.2.3")).Encoded()+"  shop-1.2.3.tgz\n") {
		t.Errorf("checksums: %s", sums)
	}
	if r := get(mirrorOf(t, Options{}, newSample(t).Bundle), http.MethodGet, "/charts/index.yaml"); r.StatusCode != http.StatusNotFound {
		t.Errorf("without charts: status %d", r.StatusCode)
	}
}

// The registry has the charts with the media types that Helm asks for, and a client that
// checks every digest reads them.
func TestChartRegistry(t *testing.T) {
	m := mirrorOf(t, Options{}, newSample(t, withCharts(t)).Bundle)
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	for version, tag := range map[string]string{"1.2.3": "1.2.3", "2.0.0+b1": "2.0.0_b1"} {
		ref, err := name.NewTag(host + "/charts/shop:" + tag)
		if err != nil {
			t.Fatal(err)
		}
		img, err := remote.Image(ref)
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		if manifest.Config.MediaType != "application/vnd.cncf.helm.config.v1+json" || len(manifest.Layers) != 1 ||
			manifest.Layers[0].MediaType != "application/vnd.cncf.helm.chart.content.v1.tar+gzip" {
			t.Errorf("manifest %+v", manifest)
		}
		config, err := img.RawConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		var metadata manifests.ChartMetadata
		if err := json.Unmarshal(config, &metadata); err != nil || metadata.Name != "shop" || metadata.Version != version || metadata.AppVersion != "3.1" {
			t.Errorf("config %s: %v", config, err)
		}
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		r, err := layers[0].Compressed()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, shopArchive(t, version)) {
			t.Errorf("archive of %s: %d bytes, %v", version, len(got), err)
		}
	}
	tags := body(t, get(m, http.MethodGet, "/v2/charts/shop/tags/list"))
	if !strings.Contains(tags, `"tags":["1.2.3","2.0.0_b1"]`) {
		t.Errorf("tags %s", tags)
	}
	if all := body(t, get(m, http.MethodGet, "/v2/_catalog")); !strings.Contains(all, `"charts/shop"`) {
		t.Errorf("catalog %s", all)
	}
	// Container runtimes do not take charts for a registry of images.
	if text := body(t, get(m, http.MethodGet, "/config/containerd-v1.toml")); strings.Contains(text, `"charts"`) {
		t.Errorf("containerd: %s", text)
	}
	if r := get(m, http.MethodGet, "/v2/charts/shop/manifests/1.2.3?ns=docker.io"); r.StatusCode != http.StatusNotFound {
		t.Errorf("as an image of Docker Hub: status %d", r.StatusCode)
	}
}

// Two mirrors of one bundle give the same manifest, so that a client can change between them.
func TestChartsOfTwoMirrors(t *testing.T) {
	s := newSample(t, withCharts(t))
	var digests []string
	for range 2 {
		digests = append(digests, get(mirrorOf(t, Options{}, s.Bundle), http.MethodHead, "/v2/charts/shop/manifests/1.2.3").Header.Get("Docker-Content-Digest"))
	}
	if digests[0] == "" || digests[0] != digests[1] {
		t.Errorf("digests %q", digests)
	}
	mirrorOf(t, Options{}, s.Bundle, newSample(t, withCharts(t), func(b *bundletest.Builder) { b.Lock.Sequence = 8 }).Bundle)
}

// An image that has the same name as a chart, on another registry, stays reachable under its
// full name.
func TestChartAndImageOfOneName(t *testing.T) {
	m := mirrorOf(t, Options{}, newSample(t, withCharts(t), func(b *bundletest.Builder) { b.AddImage(t, "docker.io/charts/shop:1.2.3", "amd64") }).Bundle)
	ask := func(target string) string {
		return get(m, http.MethodHead, target).Header.Get("Docker-Content-Digest")
	}
	asChart, asImage := ask("/v2/charts/shop/manifests/1.2.3"), ask("/v2/docker.io/charts/shop/manifests/1.2.3")
	if asChart == "" || asImage == "" || asChart == asImage || ask("/v2/charts/shop/manifests/1.2.3?ns=docker.io") != asImage {
		t.Errorf("chart %q, image %q", asChart, asImage)
	}
}

func TestChartPage(t *testing.T) {
	m := mirrorOf(t, Options{}, newSample(t, withCharts(t)).Bundle)
	page := body(t, get(m, http.MethodGet, "/", "Accept", "text/html"))
	for _, want := range []string{"2 charts", `<a href="/charts/shop-1.2.3.tgz">`, "helm repo add offk8s http://mirror:8080/charts", "oci://mirror:8080/charts/shop --version 1.2.3 --plain-http"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if text := body(t, get(m, http.MethodGet, "/")); !strings.Contains(text, "charts:\n  /charts/shop-1.2.3.tgz\n") {
		t.Errorf("as text: %s", text)
	}
}

// Helm itself pulls the charts in both ways. It is not in Debian: OFFK8S_TEST_HELM names a program (make clients).
func TestChartsWithHelm(t *testing.T) {
	helm := os.Getenv("OFFK8S_TEST_HELM")
	if helm == "" {
		t.Skip("OFFK8S_TEST_HELM is not set")
	}
	b := bundletest.New(t)
	b.AddSmall(t)
	withCharts(t)(b)
	l := newLab(t, b)
	dir, host := t.TempDir(), strings.TrimPrefix(l.url, "https://")
	try := func(args ...string) (string, error) {
		cmd := exec.Command(helm, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+dir+"/cache", "HELM_CONFIG_HOME="+dir+"/config", "HELM_DATA_HOME="+dir+"/data")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := try(args...)
		if err != nil {
			t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	run("repo", "add", "offk8s", l.url+"/charts", "--ca-file", l.ca)
	if out := run("search", "repo", "offk8s/", "--versions"); !strings.Contains(out, "1.2.3") || !strings.Contains(out, "3.1") || !strings.Contains(out, "2.0.0+b1") {
		t.Error(out)
	}
	for _, version := range []string{"1.2.3", "2.0.0+b1"} {
		file := filepath.Join(dir, "shop-"+version+".tgz")
		for _, chart := range []string{"offk8s/shop", "oci://" + host + "/charts/shop"} {
			run("pull", chart, "--version", version, "--ca-file", l.ca)
			got, err := os.ReadFile(file)
			if err != nil || !bytes.Equal(got, shopArchive(t, version)) {
				t.Errorf("%q: %d bytes, %v", chart, len(got), err)
			}
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	}
	oci := "oci://" + host + "/charts/shop"
	if out := run("show", "chart", oci, "--version", "1.2.3", "--ca-file", l.ca); !slices.Contains(strings.Split(out, "\n"), "name: shop") {
		t.Error(out)
	}
	archive := digest.FromBytes(shopArchive(t, "1.2.3"))
	l.alter("/v2/charts/shop/blobs/"+archive.String(), flip)
	if out, err := try("pull", oci, "--version", "1.2.3", "--ca-file", l.ca); err == nil || !strings.Contains(out, "mismatch") {
		t.Errorf("an altered chart: %v\n%s", err, out)
	}
	// Of the repository Helm 3 compares nothing: docs/own-content.md sends people to oci://.
}
