package main

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/fields"
	"github.com/offk8s/offk8s/manifests/strict"
)

// Every block with lines of cluster.yaml or pack.yaml is valid, alone or in a small file.
func TestYAMLInPagesIsValid(t *testing.T) {
	checked := 0
	for _, p := range readPages(t) {
		for _, b := range p.blocks {
			if !b.isYAML() {
				continue
			}
			checked++
			if err := validFragment(strings.Join(b.lines, "\n")); err != nil {
				t.Errorf("%s:%d: %v", p.name, b.line, err)
			}
		}
	}
	if checked < 8 {
		t.Errorf("only %d blocks were found", checked)
	}
	for text, want := range map[string]string{
		"network:\n  podCIRD: 10.0.0.0/8\n": "podCIRD",
		"kind: Manifest\nimage: [nginx]\n":  "image",
		"loadBalancr: {}\n":                 "neither",

		"network:\n  options:\n    backend: hostgw\n": "host-gw",
		"network:\n  options:\n    backends: vxlan\n": "backends",
		"addons:\n  - {nme: shop}\n":                  "nme",
	} {
		if err := validFragment(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: found %v, want %q", text, err, want)
		}
	}
}

// validFragment checks a cluster.yaml or pack.yaml, or some of its fields over those that
// every such file has.
func validFragment(text string) error {
	text = strings.ReplaceAll(text, "sha256:…", "sha256:"+strings.Repeat("1", 64))
	docs, err := strict.Documents([]byte(text))
	if err != nil || len(docs) != 1 {
		return fmt.Errorf("found %d documents of YAML, want one: %v", len(docs), err)
	}
	var errs []string
	for i, d := range documents {
		if kind, ok := docs[0]["kind"]; ok && kind != []string{manifests.KindCluster, manifests.KindManifest}[i] {
			continue
		}
		if !hasFields(d, docs[0]) && docs[0]["kind"] == nil {
			continue
		}
		if err := errors.Join(load(d, docs[0]), checkOptions(docs[0])); err == nil {
			return nil
		} else {
			errs = append(errs, err.Error())
		}
	}
	if len(errs) == 0 {
		return fmt.Errorf("neither cluster.yaml nor pack.yaml has all of %v", slices.Sorted(maps.Keys(docs[0])))
	}
	return fmt.Errorf("%s", strings.Join(errs, "\n"))
}

func hasFields(d document, doc map[string]any) bool {
	for key := range doc {
		if !slices.ContainsFunc(d.fields(), func(f fields.Field) bool { return f.Path == key || f.Path == key+"[]" }) {
			return false
		}
	}
	return true
}

// load reads doc, with what d requires beside it, as the commands do.
func load(d document, doc map[string]any) error {
	whole := map[string]any{"apiVersion": manifests.APIVersion}
	if d.name == "cluster" {
		maps.Copy(whole, map[string]any{
			"kind": manifests.KindCluster, "name": "site-a", "mirror": map[string]any{"url": "https://10.0.0.5:8443"},
			"hosts": []any{map[string]any{"name": "cp-1", "address": "10.0.0.11", "roles": []any{"control-plane", "etcd", "worker"}}},
		})
	} else {
		maps.Copy(whole, map[string]any{"kind": manifests.KindManifest, "kubernetes": "1.36"})
	}
	if hosts, _ := doc["hosts"].([]any); len(hosts) == 1 { // the block shows one of several
		others := whole["hosts"].([]any)
		if shown, _ := hosts[0].(map[string]any); shown["secondAddress"] != nil {
			others[0].(map[string]any)["secondAddress"] = "fd00::11" // all nodes have one
		}
		doc = maps.Clone(doc)
		doc["hosts"] = append(others, hosts[0])
	}
	maps.Copy(whole, doc)
	b, err := strict.EncodeYAML(whole)
	if err != nil {
		return err
	}
	if d.name == "cluster" {
		_, err = manifests.LoadCluster(d.file, b)
	} else {
		_, err = manifests.LoadManifest(d.file, b)
	}
	return err
}

// fieldInProse matches a path such as `network.podCIDR` or `hosts[].ssh`, perhaps with a value.
var fieldInProse = regexp.MustCompile(`^((?:pack\.)?[a-z][A-Za-z]*(?:\[\d*\])?(?:\.[A-Za-z_][\w-]*(?:\[\d*\])?)+)(?:[:=].*)?$`)

// Every field that the pages name exists.
func TestFieldsInPagesExist(t *testing.T) {
	checked := 0
	for _, p := range readPages(t) {
		for _, m := range inlineCode.FindAllStringSubmatch(p.text, -1) {
			known, err := checkField(m[1])
			if known {
				checked++
			}
			if err != nil {
				t.Errorf("%s: %s: %v", p.name, m[1], err)
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d fields were found", checked)
	}
	for code, want := range map[string]string{
		"network.podCIRD": "network.podCIDR", "loadBalancr.vip": "loadBalancer.vip", "kubelet.config.podPidsLimit": "<nil>", "hosts[].addres: x": "address",
		"network.podCIDR.more": "no field",
	} {
		if _, err := checkField(code); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: found %v, want %q", code, err, want)
		}
	}
}

var isFile = regexp.MustCompile(`\.(yaml|toml|json|tar|md)$`)

// checkField reports whether code names a field, and returns an error if there is no such
// field. Below a field that takes any name, every path is one.
func checkField(code string) (isField bool, err error) {
	m := fieldInProse.FindStringSubmatch(code)
	if m == nil {
		return false, nil
	}
	var tops []string
	for _, d := range documents {
		for _, f := range d.fields() {
			tops = append(tops, indices.Regexp().ReplaceAllString(f.Path, ""))
		}
	}
	path := indices.Regexp().ReplaceAllString(m[1], "")
	top, _, _ := strings.Cut(strings.TrimPrefix(path, "pack."), ".")
	if isFile.MatchString(path) {
		return false, nil
	}
	if _, near := strict.Nearest(top, tops); !near && !slices.Contains(tops, top) {
		return false, nil // a name of something else
	}
	for _, prefix := range []string{"", "pack."} {
		for p := prefix + path; p != ""; {
			f, found := findField(p)
			if found == nil && (p == prefix+path || strings.HasPrefix(f.Type, "map of")) {
				return true, nil
			}
			if err == nil {
				hinted, _ := errors.AsType[hintError](found)
				err = fmt.Errorf("%w: %s", found, hinted.hint)
			}
			p = p[:max(strings.LastIndex(p, "."), 0)]
		}
	}
	return true, err
}
