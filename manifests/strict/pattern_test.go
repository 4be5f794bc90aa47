package strict

import (
	"slices"
	"testing"
)

func TestPattern(t *testing.T) {
	p := NewPattern(`^(a+)(b*)$`)
	if !p.MatchString("aab") || p.MatchString("ba") {
		t.Error("matches another language")
	}
	if got := p.FindStringSubmatch("aab"); !slices.Equal(got, []string{"aab", "aa", "b"}) {
		t.Errorf("groups %q", got)
	}
}
