package upstreamtest

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
)

// ChartRepository is the chart repository of the upstreams. It has the version 1.2.3 of the
// chart shop.
const ChartRepository = "https://charts.example.com/stable"

// ChartURL is the address of the archive of shop 1.2.3.
const ChartURL = ChartRepository + "/shop-1.2.3.tgz"

// ChartArchive returns a chart with these files, by their path in it.
func ChartArchive(chart string, files map[string]string) ([]byte, error) {
	content := map[string][]byte{}
	for path, text := range files {
		content[chart+"/"+path] = []byte(text)
	}
	return tarGz(content, 0o644)
}

// Shop returns the archive of the chart shop. Its image is the pause image of Kubernetes 1.16.
func Shop(version string) ([]byte, error) {
	return ChartArchive("shop", map[string]string{
		"Chart.yaml":                "apiVersion: v2\nname: shop\nversion: " + version + "\nappVersion: 3.1\ndescription: Sells <things> & more\ntype: application\n",
		"values.yaml":               "image:\n  registry: registry.k8s.io\n  repository: pause\n  tag: \"\"\nreplicas: 2\n",
		"templates/deployment.yaml": "image: \"{{ .Values.image.registry }}/{{ .Values.image.repository }}:{{ .Values.image.tag }}\"\n",
	})
}

// addCharts makes the chart repository.
func (w *world) addCharts() error {
	archive, err := Shop("1.2.3")
	if err != nil {
		return err
	}
	w.put(ChartURL, archive)
	w.put(ChartRepository+"/index.yaml", fmt.Appendf(nil, `apiVersion: v1
entries:
  shop:
  - apiVersion: v2
    appVersion: "3.1"
    created: "2024-02-03T04:05:06Z"
    digest: %s
    name: shop
    urls:
    - shop-1.2.3.tgz
    version: 1.2.3
generated: "2024-02-03T04:05:06Z"
`, digest.FromBytes(archive).Encoded()))
	return nil
}

// PushChart puts a chart into the registry, as helm push does, and returns the digest of its
// manifest.
func (u *Upstream) PushChart(ref string, archive []byte) (digest.Digest, error) {
	tag, err := name.NewTag(strings.TrimPrefix(u.URL, "http://") + "/" + ref)
	if err != nil {
		return "", err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.cncf.helm.config.v1+json")
	img, err = mutate.AppendLayers(img, static.NewLayer(archive, "application/vnd.cncf.helm.chart.content.v1.tar+gzip"))
	if err != nil {
		return "", err
	}
	if err := remote.Write(tag, img); err != nil {
		return "", err
	}
	d, err := img.Digest()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.digests[ref] = d.String()
	return digest.Digest(d.String()), err
}
