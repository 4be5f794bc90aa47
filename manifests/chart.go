package manifests

import (
	"errors"
	"fmt"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Chart is what a Lock records of a Helm chart.
type Chart struct {
	Metadata ChartMetadata `json:"metadata,omitzero"`
	Images   []string      `json:"images,omitempty"` // that came into the bundle with the chart, sorted
}

// ChartMetadata is the content of Chart.yaml, with the fields that Helm puts into the index
// of a chart repository and into the config of a chart in a registry.
type ChartMetadata struct {
	Name         string            `json:"name,omitempty"`
	Home         string            `json:"home,omitempty"`
	Sources      []string          `json:"sources,omitempty"`
	Version      string            `json:"version,omitempty"`
	Description  string            `json:"description,omitempty"`
	Keywords     []string          `json:"keywords,omitempty"`
	Maintainers  []ChartMaintainer `json:"maintainers,omitempty"`
	Icon         string            `json:"icon,omitempty"`
	APIVersion   string            `json:"apiVersion,omitempty"` // v1 or v2
	Condition    string            `json:"condition,omitempty"`
	Tags         string            `json:"tags,omitempty"`
	AppVersion   string            `json:"appVersion,omitempty"`
	Deprecated   bool              `json:"deprecated,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	KubeVersion  string            `json:"kubeVersion,omitempty"`
	Dependencies []ChartDependency `json:"dependencies,omitempty"`
	Type         string            `json:"type,omitempty"` // application or library
}

// ChartMaintainer is an author of a chart.
type ChartMaintainer struct {
	Name  string `json:"name,omitempty"`
	Email string `json:"email,omitempty"`
	URL   string `json:"url,omitempty"`
}

// ChartDependency is a chart that another one contains.
type ChartDependency struct {
	Name       string   `json:"name,omitempty"`
	Version    string   `json:"version,omitempty"`
	Repository string   `json:"repository,omitempty"`
	Condition  string   `json:"condition,omitempty"`
	Tags       []string `json:"tags,omitempty"`
	Alias      string   `json:"alias,omitempty"`
}

// GroupCharts is the group of Helm charts.
const GroupCharts = "charts"

// ChartRef is the place of a chart below the mirror's registry, "charts/podinfo:6.9.2".
func ChartRef(name, version string) string {
	return GroupCharts + "/" + name + ":" + ChartTag(version)
}

// ChartTag returns the tag of a version in a registry: tags have no plus sign, so Helm puts
// an underscore in its place.
func ChartTag(version string) string { return strings.ReplaceAll(version, "+", "_") }

// ChartPath returns the name of the archive of a chart, "podinfo-6.9.2.tgz".
func ChartPath(name, version string) string { return name + "-" + version + ".tgz" }

var chartVersion = strict.NewPattern(`^v?[0-9]+(\.[0-9]+){0,2}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// CheckChart returns an error unless name and version can be those of a chart on the mirror.
func CheckChart(name, version string) error {
	if !chartVersion.MatchString(version) {
		return fmt.Errorf("version %q of chart %q: want a full version such as 1.2.3", version, name)
	}
	if i, err := strict.ParseImage("mirror.example/" + ChartRef(name, version)); err != nil || i.Path != GroupCharts+"/"+name {
		return fmt.Errorf("chart %q: want lower case letters, digits, dots, dashes and underscores", name)
	}
	return nil
}

func (a *Artifact) validateChart() error {
	if a.Group != GroupCharts || a.Path != ChartPath(a.Name, a.Version) {
		return fmt.Errorf("found %q, want %q", a.Group+"/"+a.Path, GroupCharts+"/"+ChartPath(a.Name, a.Version))
	}
	if a.Blob.MediaType == MediaTypeFileZstd {
		return errors.New("a chart is not compressed again")
	}
	if m := a.Chart; m == nil || m.Metadata.Name != a.Name || m.Metadata.Version != a.Version {
		return errors.New("lacks its metadata, or has that of another chart")
	}
	return CheckChart(a.Name, a.Version)
}
