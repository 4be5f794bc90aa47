package strict

import (
	"regexp"
	"sync"
)

// Pattern is a regular expression that is compiled when it is first used. A bounded
// repetition such as {0,127} takes milliseconds, which each start of the program would
// pay, also those on every host.
type Pattern struct{ compiled func() *regexp.Regexp }

// NewPattern returns a pattern in the syntax of package regexp.
func NewPattern(expr string) Pattern {
	return Pattern{sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })}
}

// MatchString reports whether s contains a match.
func (p Pattern) MatchString(s string) bool { return p.compiled().MatchString(s) }

// FindStringSubmatch returns the leftmost match and its groups, nil without a match.
func (p Pattern) FindStringSubmatch(s string) []string { return p.compiled().FindStringSubmatch(s) }

// Split returns the parts of s between the matches.
func (p Pattern) Split(s string) []string { return p.compiled().Split(s, -1) }

// Regexp returns the compiled pattern.
func (p Pattern) Regexp() *regexp.Regexp { return p.compiled() }
