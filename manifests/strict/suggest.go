package strict

import (
	"fmt"
	"strings"
)

// suggest returns a hint: the name most similar to got, or all names if none is similar.
func suggest(got string, names []string) string {
	if best, ok := Nearest(got, names); ok {
		return DidYouMean(best)
	}
	return "known are " + strings.Join(names, ", ")
}

// DidYouMean returns the hint to write name instead.
func DidYouMean(name string) string { return fmt.Sprintf("did you mean %q?", name) }

// Nearest returns the name most similar to got. It reports false if none is similar.
func Nearest(got string, names []string) (best string, ok bool) {
	near := len(got)/3 + 1
	for _, n := range names {
		if len(got) > 2*len(n)+2 {
			continue
		}
		if d := distance(strings.ToLower(got), strings.ToLower(n)); d <= near {
			best, near, ok = n, d-1, true
		}
	}
	return best, ok
}

// distance returns the Levenshtein distance of a and b, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
