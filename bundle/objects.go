package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/manifests/strict"
)

// maxObjects is the limit on a file of Kubernetes objects in bytes.
const maxObjects = 8 << 20

// planAddons adds the addons of the catalog and of the user to the Lock.
func (r *resolver) planAddons(cat *catalog.Catalog) {
	for _, a := range r.m.Addons {
		label := "addon " + a.Name
		if len(a.Files) == 0 {
			addon, err := cat.Addon(a.Name)
			var release catalog.AddonRelease
			if err == nil {
				release, err = addon.For(r.lock.Minor)
			}
			if err != nil {
				r.fail(label, err)
				continue
			}
			r.lock.Addons = append(r.lock.Addons, manifests.Addon{Name: a.Name, Release: release})
			continue
		}
		release, errs := readObjects(a.Files)
		for _, err := range errs {
			r.fail(label, err)
		}
		r.lock.Addons = append(r.lock.Addons, manifests.Addon{Name: a.Name, Release: release})
	}
}

// readObjects reads Kubernetes objects and the images of their pods. An error names
// the file and the document.
func readObjects(paths []string) (catalog.AddonRelease, []error) {
	out := catalog.AddonRelease{Literal: true, Images: map[string]catalog.Image{}}
	var b strings.Builder
	var errs []error
	files, err := objectFiles(paths)
	if err != nil {
		return out, []error{err}
	}
	for _, file := range files {
		objects, err := decodeObjects(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, o := range objects {
			text, err := json.Marshal(o)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", file, err))
				continue
			}
			b.WriteString("---\n" + string(text) + "\n")
			for _, ref := range podImages(o) {
				out.Images[ref] = catalog.Image{Ref: ref}
			}
		}
	}
	out.Objects = b.String()
	if out.Objects == "" && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s: no objects", strings.Join(paths, ", ")))
	}
	return out, errs
}

// objectFiles returns the files of paths: files as they are, of directories those with YAML
// or JSON, by name, without those named before.
func objectFiles(paths []string) ([]string, error) {
	var out []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		files := []string{filepath.Clean(p)}
		if info.IsDir() {
			entries, err := os.ReadDir(p)
			if err != nil {
				return nil, err
			}
			files = nil
			for _, e := range entries {
				if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) && e.Type()&fs.ModeDir == 0 {
					files = append(files, filepath.Join(p, e.Name()))
				}
			}
		}
		for _, f := range files {
			if !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

// decodeObjects reads the documents of a file; lists are taken apart.
func decodeObjects(file string) ([]map[string]any, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(reader.Limit(f, maxObjects))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	documents, err := strict.Documents(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var out []map[string]any
	for n, o := range documents {
		objects, err := flatten(o)
		if err != nil {
			return nil, fmt.Errorf("%s, object %d: %w", file, n+1, err)
		}
		out = append(out, objects...)
	}
	return out, nil
}

// flatten returns o, or the items of a list, after checking that they are objects.
func flatten(o map[string]any) ([]map[string]any, error) {
	kind, _ := o["kind"].(string)
	version, _ := o["apiVersion"].(string)
	if items, ok := o["items"].([]any); ok && strings.HasSuffix(kind, "List") {
		var out []map[string]any
		for i, item := range items {
			m, _ := item.(map[string]any)
			objects, err := flatten(m)
			if err != nil {
				return nil, fmt.Errorf("items[%d]: %w", i, err)
			}
			out = append(out, objects...)
		}
		return out, nil
	}
	meta, _ := o["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	if kind == "" || version == "" || name == "" {
		return nil, errors.New("is no Kubernetes object: want apiVersion, kind and metadata.name")
	}
	if _, has := meta["namespace"]; !has && slices.Contains(namespaced, kind) {
		meta["namespace"] = "default" // as kubectl does
	}
	return []map[string]any{o}, nil
}

// namespaced are the kinds of Kubernetes whose objects are in namespaces.
var namespaced = strings.Fields(`ConfigMap ControllerRevision CronJob DaemonSet Deployment EndpointSlice Endpoints
	HorizontalPodAutoscaler Ingress Job Lease LimitRange NetworkPolicy PersistentVolumeClaim Pod PodDisruptionBudget
	PodTemplate ReplicaSet ReplicationController ResourceQuota Role RoleBinding Secret Service ServiceAccount StatefulSet`)

// podImages returns the images of the containers anywhere in o: pod templates are at
// other places in each kind, and in kinds that others define.
func podImages(v any) []string {
	var out []string
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if list, ok := value.([]any); ok && slices.Contains([]string{"containers", "initContainers", "ephemeralContainers"}, key) {
				for _, c := range list {
					m, _ := c.(map[string]any)
					if ref, ok := m["image"].(string); ok && ref != "" {
						out = append(out, ref)
					}
				}
				continue
			}
			out = append(out, podImages(value)...)
		}
	case []any:
		for _, item := range v {
			out = append(out, podImages(item)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
