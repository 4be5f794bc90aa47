package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

// kinds are the values of --kind.
var kinds = func() (names []string) {
	for _, k := range manifests.ArtifactKinds {
		names = append(names, string(k))
	}
	return append(names, bundle.KindMetadata)
}()

// filter chooses artifacts of a bundle. The zero value chooses all.
type filter struct {
	kinds []string
	names []string
}

func (f *filter) flags(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.kinds, "kind", nil, "only these kinds: "+strings.Join(kinds, ", "))
	cmd.Flags().StringArrayVar(&f.names, "name", nil, "only artifacts whose name or path matches; * stands for any text, ? for a character")
}

func (f *filter) check() error {
	var wrong []string
	near := "" // of the first
	for _, k := range f.kinds {
		if !slices.Contains(kinds, k) {
			if len(wrong) == 0 {
				near = nearestOf(k, kinds)
			}
			wrong = append(wrong, strconv.Quote(k))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return withHint(usagef("--kind %s: want one of %s", strings.Join(wrong, ", "), strings.Join(kinds, ", ")), "%s", near)
}

// matches reports whether the filter chooses an artifact of this kind with any of
// the names.
func (f *filter) matches(kind string, names ...string) bool {
	if len(f.kinds) > 0 && !slices.Contains(f.kinds, kind) {
		return false
	}
	return len(f.names) == 0 || slices.ContainsFunc(f.names, func(glob string) bool {
		return slices.ContainsFunc(names, pattern(glob).MatchString)
	})
}

// pattern returns the regular expression of a glob whose * matches slashes too.
func pattern(glob string) *regexp.Regexp {
	expr := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(glob))
	return regexp.MustCompile("^" + expr + "$")
}

// apply leaves only chosen artifacts of b in s, and counts them. It returns an error if
// there are none.
func (f *filter) apply(b *bundle.Bundle, s *bundle.Listing) error {
	if len(f.kinds) == 0 && len(f.names) == 0 {
		return nil
	}
	if slices.Contains(f.kinds, bundle.KindMetadata) { // which are listed only if they are wanted
		for _, x := range b.Metadata() {
			name := x.Label()
			s.Artifacts = append(s.Artifacts, bundle.ArtifactSummary{Kind: bundle.KindMetadata, Name: name, Path: name, Digest: x.Plain.Digest, Bytes: x.Blob.Size})
		}
	}
	s.Artifacts = slices.DeleteFunc(s.Artifacts, func(x bundle.ArtifactSummary) bool { return !f.matches(x.Kind, x.Name, x.Path) })
	var counts []bundle.KindSummary
	for _, k := range kinds {
		sum := bundle.KindSummary{Kind: k}
		for _, x := range s.Artifacts {
			if x.Kind == k {
				sum.Count++
				sum.Bytes += x.Bytes
			}
		}
		if sum.Count > 0 {
			counts = append(counts, sum)
		}
	}
	s.Kinds = counts
	if len(counts) == 0 {
		return f.nothing(b)
	}
	return nil
}

// nothing is the error if the filter chooses no artifact of b.
func (f *filter) nothing(b *bundle.Bundle) error {
	given := ""
	if len(f.kinds) > 0 {
		given += " --kind " + strings.Join(f.kinds, ",")
	}
	for _, name := range f.names {
		given += fmt.Sprintf(" --name %q", name)
	}
	err := usagef("bundle %q: no artifact matches%s", b.Path(), given)
	var names []string
	for _, x := range b.Lock().Artifacts {
		if len(f.kinds) == 0 || slices.Contains(f.kinds, string(x.Kind)) {
			names = append(names, x.Name)
		}
	}
	for _, name := range f.names {
		if slices.ContainsFunc(names, func(s string) bool { return strings.Contains(s, name) }) {
			return withHint(err, "--name '*%s*' chooses those with it in their name", name)
		}
		if near, ok := strict.Nearest(name, names); ok {
			return withHint(err, "%s", strict.DidYouMean(near))
		}
	}
	return withHint(err, "offk8s inspect BUNDLE lists all artifacts; * in --name stands for any text, as in '*coredns*'")
}

// totals describes the kinds of a summary: "5 images 12.0 MiB, 25 files 300.1 MiB".
func totals(list []bundle.KindSummary) string {
	var parts []string
	for _, k := range list {
		noun := k.Kind
		if k.Kind == bundle.KindMetadata {
			noun = "metadata file"
		}
		parts = append(parts, fmt.Sprintf("%s %s", count(k.Count, noun), bundle.FormatSize(k.Bytes)))
	}
	return strings.Join(parts, ", ")
}
