package manifests

import (
	"slices"
	"strings"
)

// SortErrors sorts errs by their texts, so that a report of several problems is
// the same in every run.
func SortErrors(errs []error) {
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
}
