package chart_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/chart"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	b, err := upstreamtest.ChartArchive("app", files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(t *testing.T, files map[string]string) *chart.Archive {
	t.Helper()
	a, err := chart.Read(bytes.NewReader(archive(t, files)))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const metadata = "apiVersion: v2\nname: app\nversion: 1.10.0\nappVersion: 2.10 # a number\nannotations:\n  a: b\nunknown: x\n"

func TestMetadata(t *testing.T) {
	got := read(t, map[string]string{"Chart.yaml": metadata}).Metadata
	want := manifests.ChartMetadata{
		APIVersion: "v2", Name: "app", Version: "1.10.0", AppVersion: "2.10", Annotations: map[string]string{"a": "b"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestImages(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"helm create": {
			map[string]string{"values.yaml": "image:\n  repository: nginx\n  tag: \"\"\n"},
			[]string{"nginx:2.10 or nginx:v2.10"},
		},
		"tag and registry": {
			map[string]string{"values.yaml": "a:\n  image: {registry: quay.io, repository: org/a, tag: 1.2}\n"},
			[]string{"quay.io/org/a:1.2"},
		},
		"image in place of repository, with a digest": {
			map[string]string{"values.yaml": "controller:\n  image: {registry: registry.k8s.io, image: ingress/c, tag: v1, digest: \"sha256:" + hex + "\"}\n"},
			[]string{"registry.k8s.io/ingress/c:v1@sha256:" + hex},
		},
		"sha": {
			map[string]string{"values.yaml": "thanosImage: {repository: quay.io/t/t, sha: " + hex + "}\n"},
			[]string{"quay.io/t/t@sha256:" + hex},
		},
		"text, also with a tag beside it, in lists": {
			map[string]string{"values.yaml": "jobs:\n- image: busybox:1.36\n- image: alpine\n  imageTag: 3\n- image: \"{{ .x }}\"\n- image: https://example.com/a.png\n"},
			[]string{"busybox:1.36", "alpine:3"},
		},
		"a repository that is no image": {
			map[string]string{"values.yaml": "git:\n  repository: https://example.com/x.git\n  tag: v1\nmaven:\n  repository: central\n"},
			nil,
		},
		"literals of templates": {
			map[string]string{"templates/x/a.yaml": "  - image: docker.io/org/x:1 # y\n  - name: a\n    image: \"{{ .Values.i }}\"\n    image: 'docker.io/org/z:2'\n"},
			[]string{"docker.io/org/x:1", "docker.io/org/z:2"},
		},
		"the annotation alone": {
			map[string]string{
				"Chart.yaml":  metadata + "  artifacthub.io/images: |\n    - name: a\n      image: ghcr.io/o/a:1\n    - name: b\n      image: ghcr.io/o/b:2\n      whitelisted: true\n",
				"values.yaml": "image: {repository: nginx, tag: 9}\n",
			},
			nil, // see below
		},
		"charts below, with the values of this one": {
			map[string]string{
				"Chart.yaml":                 metadata + "dependencies:\n- {name: db, alias: store, repository: x}\n- {name: cache, repository: x}\n",
				"values.yaml":                "store:\n  image:\n    tag: 2\ncache:\n  enabled: false\n",
				"charts/db/Chart.yaml":       "apiVersion: v1\nname: db\nversion: 0.1.0\n",
				"charts/db/values.yaml":      "image:\n  repository: quay.io/db\n  tag: 1\n",
				"charts/cache-1.0.0.tgz":     "",
				"charts/_ignored/Chart.yaml": "x",
			},
			[]string{"quay.io/cache:7", "quay.io/db:2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, ok := c.files["charts/cache-1.0.0.tgz"]; ok {
				c.files["charts/cache-1.0.0.tgz"] = string(archive(t, map[string]string{
					"Chart.yaml": "name: cache\nversion: 1.0.0\n", "values.yaml": "image: quay.io/cache:7\n",
				}))
			}
			if c.files["Chart.yaml"] == "" {
				c.files["Chart.yaml"] = metadata
			}
			if name == "the annotation alone" {
				c.files["Chart.yaml"] = strings.Replace(c.files["Chart.yaml"], "unknown: x\n", "", 1)
				c.want = []string{"ghcr.io/o/a:1", "ghcr.io/o/b:2"}
			}
			var got []string
			for _, i := range read(t, c.files).Images() {
				got = append(got, strings.Join(i.Refs, " or "))
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

const hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestReadRefuses(t *testing.T) {
	nested := archive(t, map[string]string{"Chart.yaml": metadata})
	for range 10 {
		nested = archive(t, map[string]string{"Chart.yaml": metadata, "charts/a.tgz": string(nested)})
	}
	large := string(bomb(t))
	for name, content := range map[string][]byte{
		"a web page":       []byte("<html>"),
		"no Chart.yaml":    archive(t, map[string]string{"values.yaml": "a: b\n"}),
		"no name":          archive(t, map[string]string{"Chart.yaml": "version: 1.0.0\n"}),
		"a large file":     archive(t, map[string]string{"Chart.yaml": metadata, "x": strings.Repeat("x", 6<<20)}),
		"nested too deep":  nested,
		"deep YAML":        archive(t, map[string]string{"Chart.yaml": metadata + "x: " + strings.Repeat("[", 100_000) + "\n"}),
		"a cut file":       archive(t, map[string]string{"Chart.yaml": metadata})[:150],
		"a bomb of charts": archive(t, map[string]string{"Chart.yaml": metadata, "charts/a.tgz": large, "charts/b.tgz": large}),
	} {
		if _, err := chart.Read(bytes.NewReader(content)); !errors.Is(err, chart.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// bomb is a chart of 52 MB that compresses well: two of them are too much for one chart.
func bomb(t *testing.T) []byte {
	files := map[string]string{"Chart.yaml": metadata}
	for i := range 13 {
		files[fmt.Sprint("files/", i)] = strings.Repeat("x", 4<<20)
	}
	return archive(t, files)
}

const index = `apiVersion: v1
entries:
  other:
  - name: other
    description: |-
      app:
      - version: 9.9.9
    urls: [x]
    version: 9.9.9
  app:
  - apiVersion: v2
    digest: ` + hex + `
    urls:
    - https://dl.example.com/app-1.10.0.tgz
    version: 1.10.0

  - urls: [charts/app-1.9.0.tgz]
    version: 1.9.0
  zebra:
  - version: 1.10.0
    urls: [z]
generated: "2024-02-03T04:05:06Z"
`

func TestFind(t *testing.T) {
	inJSON := map[string]any{"entries": map[string]any{"app": []any{
		map[string]any{"version": "1.9.0", "urls": []string{"charts/app-1.9.0.tgz"}},
		map[string]any{"version": "1.10.0", "urls": []string{"https://dl.example.com/app-1.10.0.tgz"}, "digest": hex},
	}}}
	text, err := json.Marshal(inJSON)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"as Helm writes it": index, "JSON": string(text),
		"quoted":               strings.Replace(index, "  app:", `  "app":`, 1),
		"deeper":               strings.ReplaceAll(index, "\n  ", "\n    "),
		"flow style":           "entries: " + string(text)[len(`{"entries":`):len(text)-1] + "\n",
		"entries not indented": strings.ReplaceAll(index, "generated", "# generated"),
	} {
		got, err := chart.Find([]byte(data), "https://charts.example.com/stable", "app", "1.10.0")
		if want := (chart.Release{URL: "https://dl.example.com/app-1.10.0.tgz", Digest: "sha256:" + hex}); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		got, err = chart.Find([]byte(data), "https://charts.example.com/stable/", "app", "1.9.0")
		if want := (chart.Release{URL: "https://charts.example.com/stable/charts/app-1.9.0.tgz"}); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for wanted, text := range map[[2]string]string{
		{"app", "1.10"}:      "which has 1.10.0, 1.9.0",
		{"absent", "1.10.0"}: `no chart "absent"`,
	} {
		if _, err := chart.Find([]byte(index), "https://x", wanted[0], wanted[1]); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), text) {
			t.Errorf("%v: %v", wanted, err)
		}
	}
}

func artifact(version string) manifests.Artifact {
	return manifests.Artifact{
		Kind: manifests.KindChart, Name: "app", Version: version, Group: manifests.GroupCharts, Path: manifests.ChartPath("app", version),
		Blob: manifests.Descriptor{Digest: digest.FromString(version), Size: 7},
		Chart: &manifests.Chart{Metadata: manifests.ChartMetadata{
			APIVersion: "v2", Name: "app", Version: version, AppVersion: "1.10", Description: "a: <b> & \"c\"\nsecond line #", Keywords: []string{"no", "0x10", "1e3"},
		}},
	}
}

// Index is read by Find, and by a reader of any YAML, with every text as it was.
func TestIndex(t *testing.T) {
	data, err := chart.Index([]manifests.Artifact{artifact("1.9.0"), artifact("1.10.0+b1")}, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	got, err := chart.Find(data, "https://m:8443/charts", "app", "1.10.0+b1")
	if want := (chart.Release{URL: "https://m:8443/charts/app-1.10.0+b1.tgz", Digest: digest.FromString("1.10.0+b1")}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	documents, err := strict.Documents(data)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"apiVersion": "v2", "name": "app", "version": "1.9.0", "appVersion": "1.10", "description": "a: <b> & \"c\"\nsecond line #",
		"keywords": []any{"no", "0x10", "1e3"}, "created": "2026-01-02T03:04:05Z", "digest": digest.FromString("1.9.0").Encoded(), "urls": []any{"app-1.9.0.tgz"},
	}
	if d := cmp.Diff(want, documents[0]["entries"].(map[string]any)["app"].([]any)[1]); d != "" {
		t.Errorf("%s\n%s", d, data)
	}
}
