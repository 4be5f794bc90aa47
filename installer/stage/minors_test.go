package stage

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/kube"
)

// digests change with every version and say nothing.
var digests = regexp.MustCompile(` ?sha256:[0-9a-f]{12,64}|\.offk8s/[0-9a-f]{12}`)

// planLines returns the steps and the lines of files and objects of a plan, each once and
// without its host. Lines of files have the path before them.
func planLines(t *testing.T, in Input) []string {
	t.Helper()
	var out []string
	for it := range plan(t, in) {
		out = append(out, it.ID+": "+it.Step.Describe())
		var b strings.Builder
		writeFile(&b, "", it.Step)
		path, content, _ := strings.Cut(b.String(), " --\n")
		if a, ok := it.Step.(*kube.Apply); ok {
			path, content = it.ID, indented(t, a.Objects)
		}
		for line := range strings.Lines(content) {
			out = append(out, strings.TrimPrefix(path, "-- ")+": "+strings.TrimSpace(line))
		}
	}
	var once []string
	seen := map[string]bool{}
	for _, l := range out {
		if l = digests.ReplaceAllString(l, ""); !seen[l] {
			seen[l] = true
			once = append(once, l)
		}
	}
	return once
}

func indented(t *testing.T, objects []json.RawMessage) string {
	t.Helper()
	b, err := json.MarshalIndent(objects, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Each minor differs from the one before only as the golden shows. All
// of 1.16 and 1.36 is in the goldens of TestPlanGolden.
func TestMinorsGolden(t *testing.T) {
	var before []string
	var out strings.Builder
	for _, r := range embedded(t).Versions() {
		now := planLines(t, testInput(t, r.Minor))
		if before != nil {
			fmt.Fprintf(&out, "== %s ==\n", r.Minor)
			for _, d := range []struct {
				sign       string
				lines, not []string
			}{{"-", before, now}, {"+", now, before}} {
				for _, l := range d.lines {
					if !slices.Contains(d.not, l) {
						fmt.Fprintf(&out, "%s %s\n", d.sign, l)
					}
				}
			}
		}
		before = now
	}
	golden(t, "minors.txt", out.String())
}
