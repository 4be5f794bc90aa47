package strict

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Checks collects the problems of a decoded document.
type Checks struct{ Problems []Problem }

// Add adds a problem of the value at path.
func (c *Checks) Add(path, format string, a ...any) {
	c.Problems = append(c.Problems, Problem{Path: path, Message: fmt.Sprintf(format, a...)})
}

// AddHint is Add with a hint.
func (c *Checks) AddHint(path, hint, format string, a ...any) {
	c.Add(path, format, a...)
	c.Problems[len(c.Problems)-1].Hint = hint
}

// Among adds a problem unless got is one of known, with a similar one as hint.
func (c *Checks) Among(path, got string, known ...string) {
	if slices.Contains(known, got) {
		return
	}
	hint := ""
	if best, ok := Nearest(strings.TrimSpace(got), known); ok {
		hint = DidYouMean(best)
	}
	c.AddHint(path, hint, "found %q, want one of %s", got, strings.Join(known, ", "))
}

// Match adds a problem unless ok(s).
func (c *Checks) Match(path, s string, ok func(string) bool, want string) {
	if !ok(s) {
		c.Add(path, "found %q, want %s", s, want)
	}
}

// Each calls check for every element of a list and adds a problem for each duplicate.
func (c *Checks) Each(path string, list []string, check func(path, s string)) {
	seen := map[string]bool{}
	for i, s := range list {
		p := fmt.Sprintf("%s[%d]", path, i)
		check(p, s)
		if seen[s] {
			c.Add(p, "duplicate %q", s)
		}
		seen[s] = true
	}
}

// Digest checks a digest, which may be empty.
func (c *Checks) Digest(path, d string) {
	if err := CheckDigest(digest.Digest(d)); err != nil {
		c.Add(path, "%v", err)
	}
}

// URL checks the URL of a download; pinned reports that its digest is known,
// and then plain http is accepted.
func (c *Checks) URL(path, s string, pinned bool) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || strings.ContainsFunc(s, Unprintable):
		c.Add(path, "%q is not a URL", s)
	case u.Scheme != "https" && (u.Scheme != "http" || !pinned):
		c.Add(path, "%q: want https, or http with a digest", s)
	case u.User != nil:
		c.Add(path, "%q: a name or password does not belong here", u.Redacted())
	}
}

// Flag checks the name and value of a flag, which are written into a unit file.
func (c *Checks) Flag(path, name, value string) {
	if !argName.MatchString(name) {
		c.Add(path, "%q is not the name of a flag, written without dashes", name)
	}
	c.OneLine(path, value)
}

// OneLine checks a value that is written into one line of a file.
func (c *Checks) OneLine(path, value string) {
	if strings.ContainsFunc(value, forbiddenInLine) {
		c.Add(path, "%q: want one line of printable text", value)
	}
}

// forbiddenInLine reports a character that would end or hide part of a line.
func forbiddenInLine(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufffd'
}

// Sysctls checks kernel settings.
func (c *Checks) Sysctls(path string, values map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(values)) {
		p := JoinPath(path, k)
		c.Match(p, k, IsSysctl, "a name such as net.ipv4.ip_forward")
		if strings.TrimSpace(values[k]) == "" {
			c.Add(p, "no value is given")
		}
		c.OneLine(p, values[k])
	}
}
