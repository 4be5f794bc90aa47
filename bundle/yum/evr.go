package yum

import (
	"cmp"
	"strings"
)

// compareVersion orders two versions or two releases as rpm does
// (rpm 4.18, rpmio/rpmvercmp.c): runs of digits as numbers, runs of letters as
// text, a number above a word, "~" below everything including the end, "^"
// above the end and below everything else. The tests compare it with rpm itself
// and with go-rpmutils, which does not know "^" and so cannot replace it.
func compareVersion(a, b string) int {
	for a != "" || b != "" {
		a, b = trimSeparators(a), trimSeparators(b)
		if strings.HasPrefix(a, "~") || strings.HasPrefix(b, "~") {
			if c := compareMark(a, b, "~"); c != 0 {
				return c
			}
			a, b = a[1:], b[1:]
			continue
		}
		if strings.HasPrefix(a, "^") || strings.HasPrefix(b, "^") {
			if a == "" || b == "" {
				return cmp.Compare(len(a), len(b))
			}
			if c := compareMark(a, b, "^"); c != 0 {
				return c
			}
			a, b = a[1:], b[1:]
			continue
		}
		if a == "" || b == "" {
			break
		}
		var x, y string
		numeric := isDigit(a[0])
		x, a = cutRun(a, numeric)
		y, b = cutRun(b, numeric)
		if y == "" { // of different kinds: the number is the newer
			if numeric {
				return 1
			}
			return -1
		}
		if c := compareRun(x, y, numeric); c != 0 {
			return c
		}
	}
	// What is left over is newer.
	return cmp.Compare(min(len(a), 1), min(len(b), 1))
}

// compareMark orders a version that starts with the mark below one that does not.
func compareMark(a, b, mark string) int {
	switch hasA, hasB := strings.HasPrefix(a, mark), strings.HasPrefix(b, mark); {
	case hasA && !hasB:
		return -1
	case hasB && !hasA:
		return 1
	}
	return 0
}

func compareRun(x, y string, numeric bool) int {
	if numeric {
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		if c := cmp.Compare(len(x), len(y)); c != 0 {
			return c
		}
	}
	return strings.Compare(x, y)
}

func trimSeparators(s string) string {
	return strings.TrimLeftFunc(s, func(r rune) bool {
		return r > 0x7f || (!isDigit(byte(r)) && !isLetter(byte(r)) && r != '~' && r != '^')
	})
}

func cutRun(s string, numeric bool) (string, string) {
	i := 0
	for i < len(s) && (numeric && isDigit(s[i]) || !numeric && isLetter(s[i])) {
		i++
	}
	return s[:i], s[i:]
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// Compare orders by epoch, version and release: -1, 0 or 1.
func (n NEVRA) Compare(o NEVRA) int {
	return compareEVR(n.Epoch, n.Version, n.Release, o.Epoch, o.Version, o.Release)
}

func compareEVR(e1, v1, r1, e2, v2, r2 string) int {
	if c := compareVersion(epoch(e1), epoch(e2)); c != 0 {
		return c
	}
	if c := compareVersion(v1, v2); c != 0 {
		return c
	}
	return compareVersion(r1, r2)
}

func epoch(e string) string {
	if e == "" {
		return "0"
	}
	return e
}

// parseEVR splits "epoch:version-release"; epoch and release may be missing.
func parseEVR(s string) (epoch, version, release string) {
	if e, rest, ok := strings.Cut(s, ":"); ok && strings.Trim(e, "0123456789") == "" {
		epoch, s = e, rest
	}
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		return epoch, s[:i], s[i+1:]
	}
	return epoch, s, ""
}

// matches reports whether something that provides p satisfies a requirement of
// r: the version ranges overlap. Without an operator on one side any version
// does; a release counts only when both sides have one (rpm's rpmdsCompare).
func (r Relation) matches(p Relation) bool {
	if r.Name != p.Name {
		return false
	}
	if r.Op == "" || p.Op == "" {
		return true
	}
	releaseR, releaseP := r.Release, p.Release
	if releaseR == "" || releaseP == "" {
		releaseR, releaseP = "", ""
	}
	c := compareEVR(p.Epoch, p.Version, releaseP, r.Epoch, r.Version, releaseR)
	less := func(op string) bool { return strings.HasPrefix(op, "<") }
	greater := func(op string) bool { return strings.HasPrefix(op, ">") }
	equal := func(op string) bool { return strings.HasSuffix(op, "=") }
	switch {
	case c < 0:
		return greater(p.Op) || less(r.Op)
	case c > 0:
		return less(p.Op) || greater(r.Op)
	}
	return equal(p.Op) && equal(r.Op) || less(p.Op) && less(r.Op) || greater(p.Op) && greater(r.Op)
}

// String returns the relation as a spec file writes it.
func (r Relation) String() string {
	if r.Op == "" {
		return r.Name
	}
	evr := r.Version
	if r.Release != "" {
		evr += "-" + r.Release
	}
	if r.Epoch != "" && r.Epoch != "0" {
		evr = r.Epoch + ":" + evr
	}
	return r.Name + " " + r.Op + " " + evr
}
