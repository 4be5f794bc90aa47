package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/chart"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// ErrChartImage means that an image that a chart seems to name is not in its registry. The
// names come from the chart's values.yaml, and may be others once templates are rendered.
var ErrChartImage = errors.New("cannot tell the images of a chart")

// planCharts checks the charts without the network.
func (r *resolver) planCharts() {
	for _, c := range r.m.Charts {
		if r.o.Require != "" && c.Digest == "" && c.File == "" {
			r.fail(c.Label(), policyFailure(errors.New("no digest is given for it")))
		}
		if c.File != "" {
			if _, err := readChart(c.File); err != nil {
				r.fail(c.Label(), err)
			}
		}
	}
}

// readChart reads the archive of a chart on this machine.
func readChart(file string) (*chart.Archive, error) {
	f, _, err := reader.OpenFile(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := chart.Read(f)
	if err != nil {
		return nil, err
	}
	return content, manifests.CheckChart(content.Metadata.Name, content.Metadata.Version)
}

// chartRepositories returns the upstreams of the charts of m.
func chartRepositories(m manifests.Manifest) []Upstream {
	var out []Upstream
	for _, c := range m.Charts {
		if c.File != "" {
			continue
		}
		address, ok := strings.CutPrefix(c.Repository, manifests.OCIScheme)
		if ok {
			address += "/" + c.Name
		}
		out = append(out, Upstream{c.Label(), address})
	}
	return out
}

// charts fetches the charts and adds the images that they name.
func (r *resolver) charts(ctx context.Context) {
	indexes := map[string][]byte{} // by address of the repository
	for _, c := range r.m.Charts {
		if ctx.Err() != nil {
			return
		}
		if err := r.chart(ctx, c, indexes); err != nil {
			r.fail(c.Label(), err)
		}
	}
}

func (r *resolver) chart(ctx context.Context, c manifests.ManifestChart, indexes map[string][]byte) error {
	var err error
	a := manifests.Artifact{Kind: manifests.KindChart, Name: c.Name, Version: c.Version, Group: manifests.GroupCharts, Mode: modeFile}
	switch {
	case c.File != "":
		a.Name, a.Version, a.Source, err = r.localChart(ctx, c)
	case strings.HasPrefix(c.Repository, manifests.OCIScheme):
		a.Source, err = r.registryChart(ctx, c)
	default:
		a.Source, err = r.repositoryChart(ctx, c, indexes)
	}
	if err != nil {
		return err
	}
	a.Path = manifests.ChartPath(a.Name, a.Version)
	content, err := r.fetchChart(ctx, &a)
	if err != nil {
		return err
	}
	a.Chart = &manifests.Chart{Metadata: content.Metadata}
	if a.Chart.Images, err = r.chartImages(ctx, c, content); err != nil {
		return err
	}
	r.add(a)
	return nil
}

// localChart stores a chart of this machine.
func (r *resolver) localChart(ctx context.Context, c manifests.ManifestChart) (name, version string, s manifests.Source, err error) {
	content, err := readChart(c.File)
	if err != nil {
		return "", "", s, err
	}
	name, version = content.Metadata.Name, content.Metadata.Version
	file := manifests.ExtraFile{Name: manifests.ChartPath(name, version), Digest: c.Digest}
	if s, err = localSource(ctx, file, c.File); err != nil {
		return "", "", s, err
	}
	return name, version, s, r.env.AddLocal(ctx, c.File, []*manifests.Artifact{{Source: s}})
}

// registryChart finds the manifest of a chart in a registry.
func (r *resolver) registryChart(ctx context.Context, c manifests.ManifestChart) (manifests.Source, error) {
	s := manifests.Source{
		URL:    strings.TrimSuffix(c.Repository, "/") + "/" + c.Name + ":" + manifests.ChartTag(c.Version),
		Digest: digest.Digest(c.Digest), Trust: manifests.TrustCatalog,
	}
	if s.Digest != "" {
		return s, nil
	}
	s.Trust = manifests.TrustFirstUse
	ref, err := fetch.ChartImage(s.URL)
	if err == nil {
		s.Digest, err = r.o.Client.ResolveImage(ctx, ref)
	}
	return s, err
}

// repositoryChart finds the archive of a chart in a repository.
func (r *resolver) repositoryChart(ctx context.Context, c manifests.ManifestChart, indexes map[string][]byte) (manifests.Source, error) {
	index, ok := indexes[c.Repository]
	if !ok {
		body, err := r.o.Client.Get(ctx, strings.TrimSuffix(c.Repository, "/")+"/index.yaml", chart.MaxIndex)
		if err == nil {
			index, err = io.ReadAll(body)
		}
		if err != nil {
			return manifests.Source{}, err
		}
		indexes[c.Repository] = index
	}
	release, err := chart.Find(index, c.Repository, c.Name, c.Version)
	if err != nil {
		return manifests.Source{}, err
	}
	s := manifests.Source{URL: release.URL, Digest: release.Digest, Trust: manifests.TrustChecksum}
	switch pin := digest.Digest(c.Digest); {
	case pin != "":
		if release.Digest != "" && release.Digest.Algorithm() == pin.Algorithm() && release.Digest != pin {
			return s, &fetch.MismatchError{What: "digest in index.yaml", Found: release.Digest.String(), Want: c.Digest}
		}
		s.Digest, s.Trust = pin, manifests.TrustCatalog
	case s.Digest == "":
		s.Trust = manifests.TrustFirstUse
		task := r.o.Progress.Start(c.Label(), 0)
		s.Digest, s.Size, err = r.env.FirstUse(ctx, s.URL, task)
		task.Done(err)
	}
	return s, err
}

// fetchChart fetches a chart into the store and reads it.
func (r *resolver) fetchChart(ctx context.Context, a *manifests.Artifact) (*chart.Archive, error) {
	group := []*manifests.Artifact{a}
	for _, f := range fetch.Fetchers(r.env) {
		if f.Kind() != manifests.KindChart {
			continue
		}
		task := r.o.Progress.Start(fetch.Label(group), a.Source.Size)
		err := f.Fetch(ctx, group, task)
		task.Done(err)
		if err != nil {
			return nil, err
		}
	}
	f, err := r.o.Store.Get(a.Blob.Digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return chart.Read(f)
}

// chartImages adds the images of a chart to the Lock and returns their names.
func (r *resolver) chartImages(ctx context.Context, c manifests.ManifestChart, content *chart.Archive) ([]string, error) {
	var names []string
	if len(c.Images) > 0 { // planImages has added them
		for _, s := range c.Images {
			ref, err := fetch.ParseImage(s)
			if err != nil {
				return nil, err
			}
			names = append(names, ref.Name)
		}
		slices.Sort(names)
		return slices.Compact(names), nil
	}
	guessed := false
	for _, image := range content.Images() {
		found, err := r.chartImage(ctx, image)
		if err != nil {
			return nil, err
		}
		guessed = guessed || image.From != chart.FromAnnotation
		names = append(names, found)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	switch m := content.Metadata; {
	case len(names) == 0:
		r.o.Log.Warn("found no image in the chart; if its templates name some, list them under charts[].images", "chart", m.Name, "version", m.Version)
	case guessed:
		r.o.Log.Warn("images of the chart are those of its default values; compare with helm template, and list others under charts[].images",
			"chart", m.Name, "version", m.Version, "images", strings.Join(names, " "))
	}
	return names, nil
}

// chartImage adds the image of a chart under the first of its names that exists.
func (r *resolver) chartImage(ctx context.Context, i chart.Image) (name string, err error) {
	for _, s := range i.Refs {
		var once error
		if name, once = r.foundImage(ctx, s); once == nil {
			return name, nil
		}
		if err == nil {
			err = once
		}
		if !errors.Is(once, ErrChartImage) {
			break
		}
	}
	return "", fmt.Errorf("image %q in %s: %w", i.Refs[0], i.From, err)
}

// foundImage adds an image that was found in a chart, unless the Lock has it, and returns
// its name in the Lock.
func (r *resolver) foundImage(ctx context.Context, s string) (string, error) {
	ref, err := fetch.ParseImage(s)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrChartImage, err)
	}
	if _, known := r.pins[ref.Name]; known || ref.Digest != "" {
		r.addImage(catalog.Image{Ref: s})
		return ref.Name, nil
	}
	if r.o.Require != "" {
		return "", policyFailure(errors.New("no digest is pinned for it"))
	}
	d, err := r.o.Client.ResolveImage(ctx, ref)
	if fetch.IsMissing(err) {
		return "", fmt.Errorf("%w: %w", ErrChartImage, err)
	}
	if err != nil {
		return "", err
	}
	a, err := imageArtifact(catalog.Image{Ref: s})
	if err != nil {
		return "", err
	}
	a.Source.Digest, r.pins[a.Name] = d, d
	r.add(a)
	r.o.Log.Info("first use", "artifact", a.Name, "digest", d)
	return a.Name, nil
}
