package mirror

import (
	"net/http"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/chart"
	"github.com/offk8s/offk8s/manifests"
)

// chartsOf returns the Helm charts of the bundles, each once, by name and version.
func chartsOf(bundles []*bundle.Bundle) []manifests.Artifact {
	var out []manifests.Artifact
	seen := map[string]bool{}
	for _, b := range bundles {
		for _, a := range b.Lock().Artifacts {
			if a.Kind == manifests.KindChart && !seen[a.Path] {
				seen[a.Path] = true
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, manifests.CompareArtifacts)
	return out
}

// chartIndex is the index of the charts as a chart repository.
func (d *pageData) chartIndex(string, *http.Request) (string, []byte) {
	index, err := chart.Index(d.charts, d.bundles[0].Lock().Created)
	if err != nil { // metadata of a Lock always has a JSON form
		return typeText, []byte(err.Error() + "\n")
	}
	return typeYAML, index
}

// chartStep returns the set-up of Helm for the mirror at base.
func (d *pageData) chartStep(base string) string {
	_, host, _ := strings.Cut(base, "://")
	a, ca := d.charts[0], ""
	switch {
	case len(d.ca) > 0:
		ca = " --ca-file " + caPath
	case strings.HasPrefix(base, "http:"):
		ca = " --plain-http"
	}
	return "# Helm charts, with Helm 3.8 and later; needs no root\n" +
		"helm install " + a.Name + " oci://" + host + "/" + manifests.GroupCharts + "/" + a.Name + " --version " + a.Version + ca + "\n" +
		"# or as a repository\n" +
		"helm repo add offk8s " + base + "/" + manifests.GroupCharts + strings.ReplaceAll(ca, " --plain-http", "") + "\n"
}
