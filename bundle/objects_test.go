package bundle

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write puts files below a new directory and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const cronJob = `# a comment alone is no object
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: shop}
spec:
  jobTemplate:
    spec:
      template:
        spec:
          initContainers: [{name: a, image: r.example/init:1}]
          containers: [{name: b, image: "nginx:1.29"}, {name: c, image: "nginx:1.29"}]
---
# nothing in this one either
---
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Pod
    metadata: {name: p}
    spec:
      containers: [{name: x, image: "r.example/pod@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]
      ephemeralContainers: [{name: y, image: r.example/debug:1}]
  - apiVersion: v1
    kind: Namespace
    metadata: {name: shop}
`

func TestReadObjects(t *testing.T) {
	dir := write(t, map[string]string{
		"b.yaml": cronJob, "notes.txt": "no objects", "sub/c.yaml": "not read",
		"a.json": `{"apiVersion":"example.com/v1","kind":"Shop","metadata":{"name":"x"},"spec":{"pods":[{"template":{"containers":[{"image":"r.example/custom:1"}]}}],"image":"r.example/none:1"}}`,
	})
	release, errs := readObjects([]string{filepath.Join(dir, "b.yaml"), dir})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var images []string
	for ref := range release.Images {
		images = append(images, ref)
	}
	slices.Sort(images)
	want := []string{
		"nginx:1.29", "r.example/custom:1", "r.example/debug:1", "r.example/init:1",
		"r.example/pod@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	}
	if diff := cmp.Diff(want, images); diff != "" {
		t.Errorf("images:\n%s", diff)
	}
	var kinds []string
	for line := range strings.Lines(release.Objects) {
		for _, k := range []string{"CronJob", "Pod", "Namespace", "Shop"} {
			if strings.Contains(line, `"kind":"`+k+`"`) {
				kinds = append(kinds, k)
			}
		}
	}
	if diff := cmp.Diff([]string{"CronJob", "Pod", "Namespace", "Shop"}, kinds); diff != "" || !release.Literal {
		t.Errorf("objects, literal %t:\n%s", release.Literal, diff)
	}
	if !strings.Contains(release.Objects, `{"name":"p","namespace":"default"}`) || strings.Contains(release.Objects, `{"name":"shop","namespace"`) {
		t.Errorf("namespaces:\n%s", release.Objects)
	}
}

func TestReadObjectsReportsEveryProblem(t *testing.T) {
	dir := write(t, map[string]string{
		"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---\nkind: Pod\n",
		"b.yaml": "a: [\n", "c.yaml": "- just\n- a list\n", "empty/x.txt": "",
	})
	_, errs := readObjects([]string{dir})
	var text []string
	for _, err := range errs {
		text = append(text, err.Error())
	}
	all := strings.Join(text, "\n")
	for _, want := range []string{"a.yaml, object 2: is no Kubernetes object", "b.yaml: document 1", "c.yaml: document 1"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in:\n%s", want, all)
		}
	}
	for _, p := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "empty")} {
		if _, errs := readObjects([]string{p}); len(errs) != 1 || !strings.Contains(errs[0].Error(), p) {
			t.Errorf("%s: %v", p, errs)
		}
	}
}
