package chart

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Image is an image that a chart names.
type Image struct {
	// Refs are the names that it may have, in the order in which to try them: an image
	// without a tag in values.yaml usually has the version of the application as its tag.
	Refs []string
	From string // FromAnnotation, "values.yaml" or "templates"
}

// Images returns the images of a chart and of the charts in it, each once:
//
//   - those of the annotation artifacthub.io/images, if the chart has it; else
//   - those of values.yaml: a repository with a tag, a digest or a registry, or a field
//     called image, in the forms that helm create and the common charts use. Images of parts
//     that are off by default are among them.
//   - Names that stand in the templates without an expression.
//
// A name that a template computes in another way is not found.
func (a *Archive) Images() []Image {
	f := &finder{seen: map[string]bool{}}
	f.chart(a, a.values)
	return f.found
}

// FromAnnotation is Image.From of an image in the annotation that lists the images of a
// chart for Artifact Hub.
const FromAnnotation = "artifacthub.io/images"

type finder struct {
	found []Image
	seen  map[string]bool
}

func (f *finder) add(from string, refs ...string) {
	if !f.seen[refs[0]] {
		f.seen[refs[0]] = true
		f.found = append(f.found, Image{refs, from})
	}
}

// chart finds the images of a with the values that it gets.
func (f *finder) chart(a *Archive, values map[string]any) {
	own := maps.Clone(values)
	for _, child := range a.charts {
		name := a.alias(child)
		set, _ := values[name].(map[string]any)
		f.chart(child, merged(child.values, set))
		delete(own, name)
	}
	if list := a.Metadata.Annotations[FromAnnotation]; list != "" {
		for _, ref := range literals([]byte(list)) {
			f.add(FromAnnotation, ref)
		}
		return
	}
	f.values(a, "", own)
	for _, t := range a.templates {
		for _, ref := range literals(t) {
			f.add("templates", ref)
		}
	}
}

// alias returns the name under which the values of a are those of child.
func (a *Archive) alias(child *Archive) string {
	for _, d := range a.Metadata.Dependencies {
		if d.Name == child.Metadata.Name && d.Alias != "" {
			return d.Alias
		}
	}
	return child.Metadata.Name
}

// merged returns base with the values of over in their places, as Helm merges them.
func merged(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range over {
		a, isMap := out[k].(map[string]any)
		if b, ok := v.(map[string]any); ok && isMap {
			v = merged(a, b)
		}
		out[k] = v
	}
	return out
}

// values finds images in a value; key is its name.
func (f *finder) values(a *Archive, key string, v any) {
	switch v := v.(type) {
	case map[string]any:
		if refs := fields(v).refs(a, isImageKey(key)); refs != nil {
			f.add("values.yaml", refs...)
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if text, ok := v[k].(string); ok && isImageKey(k) && fields(v).alone() && isRef(text) {
				f.add("values.yaml", withTag(text, fields(v).text("imageTag", "tag")))
				continue
			}
			f.values(a, k, v[k])
		}
	case []any:
		for _, item := range v {
			f.values(a, key, item)
		}
	}
}

// isImageKey reports whether a field with this name holds an image: image, busyboxImage.
func isImageKey(key string) bool { return key == "image" || strings.HasSuffix(key, "Image") }

// fields are the fields of a map in values.yaml.
type fields map[string]any

func (m fields) text(keys ...string) string {
	for _, k := range keys {
		switch v := m[k].(type) {
		case nil, map[string]any, []any, bool:
		default:
			if s := fmt.Sprint(v); s != "" {
				return s
			}
		}
	}
	return ""
}

// alone reports whether a field of m is a whole reference, not a part of one.
func (m fields) alone() bool {
	_, registry := m["registry"]
	_, repository := m["repository"]
	return !registry && !repository
}

// refs returns the names of the image that the fields of m describe together, nil if they
// describe none. image reports that the field of m is called so.
func (m fields) refs(a *Archive, image bool) []string {
	registry, repository := m.text("registry"), m.text("repository")
	if repository == "" && registry != "" {
		repository = m.text("image", "name") // ingress-nginx
	}
	_, hasTag := m["tag"]
	if repository == "" || !image && !hasTag && registry == "" || !isRef(repository) {
		return nil
	}
	if registry != "" && !strings.HasPrefix(repository, registry+"/") {
		repository = strings.TrimSuffix(registry, "/") + "/" + repository
	}
	tag, digest := m.text("tag"), m.text("digest", "sha")
	if digest != "" && !strings.Contains(digest, ":") {
		digest = "sha256:" + digest
	}
	switch {
	case digest != "" && tag != "":
		return []string{withTag(repository, tag) + "@" + digest}
	case digest != "":
		return []string{repository + "@" + digest}
	case tag != "" || tagged(repository):
		return []string{withTag(repository, tag)}
	case a.Metadata.AppVersion == "":
		return []string{repository}
	}
	version := strings.TrimPrefix(a.Metadata.AppVersion, "v")
	refs := []string{withTag(repository, version), withTag(repository, "v"+version)}
	if version != a.Metadata.AppVersion {
		slices.Reverse(refs)
	}
	return refs
}

// tagged reports whether ref has a tag or a digest.
func tagged(ref string) bool {
	return strings.Contains(ref, "@") || strings.Contains(ref[strings.LastIndex(ref, "/")+1:], ":")
}

func withTag(ref, tag string) string {
	if tag == "" || tagged(ref) {
		return ref
	}
	return ref + ":" + tag
}

var plainRef = strict.NewPattern(`^[a-zA-Z0-9][a-zA-Z0-9._:/@-]*$`)

// isRef reports whether s may be an image reference: it has no expression, scheme or space.
func isRef(s string) bool { return plainRef.MatchString(s) && !strings.Contains(s, "://") }

// imageLine is a line of YAML that names an image.
var imageLine = strict.NewPattern(`(?m)^[ \t]*(?:-[ \t]+)?["']?image["']?:[ \t]*["']?([^\s"'#{}]+)["']?[ \t]*(?:#.*)?\r?$`)

// literals returns the images that lines of a template or a list name without an expression.
func literals(text []byte) []string {
	var out []string
	for _, m := range imageLine.Regexp().FindAllSubmatch(text, -1) {
		if ref := string(m[1]); isRef(ref) {
			out = append(out, ref)
		}
	}
	return out
}
