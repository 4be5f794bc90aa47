package catalog

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Version is a Kubernetes version. Patch is -1 for a bare minor ("1.36").
type Version struct {
	Major, Minor, Patch int
}

// ParseVersion reads "1.36", "1.36.3" or either with a leading v. Pre-releases
// and build metadata are refused: the catalog holds releases only.
func ParseVersion(s string) (Version, error) {
	parts := strings.Split(strings.TrimPrefix(s, "v"), ".")
	other := fmt.Errorf("version %q: want the form 1.36 or 1.36.3", s)
	if len(parts) != 2 && len(parts) != 3 {
		return Version{}, other
	}
	n := [3]int{0, 0, -1}
	for i, p := range parts {
		v, err := strconv.Atoi(p)
		if err != nil || strconv.Itoa(v) != p || v < 0 || v > 9999 {
			return Version{}, other
		}
		n[i] = v
	}
	return Version{n[0], n[1], n[2]}, nil
}

// String returns the version without v: "1.36" or "1.36.3".
func (v Version) String() string {
	if v.Patch < 0 {
		return v.MinorString()
	}
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
}

// MinorString returns the minor of v: "1.36".
func (v Version) MinorString() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Compare orders versions; a bare minor sorts before all of its patches.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch))
}

// compareMinors orders two minors such as "1.9" and "1.16" by number. If
// one is not a minor, it compares them as strings.
func compareMinors(a, b string) int {
	v, errA := ParseVersion(a)
	w, errB := ParseVersion(b)
	if errA != nil || errB != nil {
		return strings.Compare(a, b)
	}
	v.Patch, w.Patch = -1, -1
	return v.Compare(w)
}
