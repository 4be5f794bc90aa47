package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/manifests/strict"
)

// The table of options in docs/networks.md has those of the pod networks, with their values.
func TestOptionsInPages(t *testing.T) {
	cat, err := catalog.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"docs/networks.md", "docs/zh-CN/networks.md"} {
		b, err := os.ReadFile(filepath.Join(repository, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range cat.CNINames() {
			cni, err := cat.CNI(name)
			if err != nil {
				t.Fatal(err)
			}
			for option, o := range cni.Options {
				row := regexp.MustCompile("(?m)^\\|[^|]*\\| `" + option + "` \\|.*$").FindString(string(b))
				for _, value := range o.Values {
					if !strings.Contains(row, "`"+value+"`") {
						t.Errorf("%s has no row with %s: %s, of %s", page, option, value, name)
					}
				}
				if row == "" {
					t.Errorf("%s has no row for %s, of %s", page, option, name)
				}
			}
		}
	}
}

// checkOptions returns an error unless a pod network takes the options in a document.
func checkOptions(doc map[string]any) error {
	var file struct {
		Network struct{ Options map[string]any }
	}
	b, err := json.Marshal(doc)
	if err == nil {
		err = json.Unmarshal(b, &file)
	}
	options := file.Network.Options
	if err != nil || options == nil {
		return err
	}
	cat, err := catalog.Embedded()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range cat.CNINames() {
		cni, err := cat.CNI(name)
		if err != nil {
			return err
		}
		for _, r := range cni.Releases {
			_, problems := r.Settings(options)
			if len(problems) == 0 {
				return nil
			}
			errs = append(errs, fmt.Errorf("%s: %v", name, problems))
		}
	}
	return errors.Join(errs...)
}

// valueInProse matches a field with a value, such as `loadBalancer.mode: hosts`.
var valueInProse = regexp.MustCompile(`^([a-z][A-Za-z]*(?:\.[a-z][A-Za-z]*)+): (.+)$`)

// The values of fields that have a choice are among it, and names of checks exist.
func TestValuesInPagesExist(t *testing.T) {
	checked := 0
	for _, p := range readPages(t) {
		for _, m := range inlineCode.FindAllStringSubmatch(p.text, -1) {
			known, err := checkValue(m[1])
			if err != nil {
				t.Errorf("%s: %s: %v", p.name, m[1], err)
			}
			if known {
				checked++
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d values were found", checked)
	}
	for code, want := range map[string]string{
		"loadBalancer.mode: nodelocal":                 "node-local",
		"network.proxyMode: iptable":                   "iptables",
		"hostPreparation.ignorePreflight: [endpoints]": "no check",
		"hostPreparation.skip: [managers]":             "<nil>",
		"hostPreparation.skip: [manager]":              "managers",
		"offk8s install --ignore memroy":               "no check",
	} {
		if _, err := checkValue(code); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: found %v, want %q", code, err, want)
		}
	}
}

// ignoredChecks matches names of checks that are turned off.
var ignoredChecks = regexp.MustCompile(`(?:ignorePreflight: \[|--ignore )([a-z, -]+)`)

// checkValue reports whether code sets a field of cluster.yaml or turns off a check, and
// returns an error if the value is not one of those that there are.
func checkValue(code string) (isValue bool, err error) {
	if m := ignoredChecks.FindStringSubmatch(code); m != nil {
		for name := range strings.SplitSeq(m[1], ",") {
			if name = strings.TrimSpace(name); !slices.Contains(stage.CheckNames(), name) {
				return true, fmt.Errorf("no check has the name %q", name)
			}
		}
		return true, nil
	}
	m := valueInProse.FindStringSubmatch(code)
	if m == nil {
		return false, nil
	}
	docs, err := strict.Documents([]byte("value: " + m[2] + "\n"))
	if err != nil || len(docs) != 1 {
		return false, nil // text
	}
	value := docs[0]["value"]
	names := strings.Split(m[1], ".")
	for _, name := range slices.Backward(names) {
		value = map[string]any{name: value}
	}
	doc := value.(map[string]any)
	if !hasFields(documents[0], doc) {
		return false, nil
	}
	problems, _ := errors.AsType[*strict.Error](load(documents[0], doc))
	if problems == nil {
		return true, nil
	}
	for _, p := range problems.Problems { // others come of the rest of the file
		if strings.HasPrefix(p.Path, m[1]) && strings.Contains(p.Message, "want one of") {
			return true, errors.New(p.Message)
		}
	}
	return true, nil
}
