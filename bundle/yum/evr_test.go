package yum

import (
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	rpmutils "github.com/sassoftware/go-rpmutils"

	"github.com/offk8s/offk8s/test/testenv"
)

func TestCompareVersion(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"1.0", "1.0", 0},
		{"1.0", "2.0", -1},
		{"2.0.1", "2.0", 1},
		{"2.0.1a", "2.0.1", 1},
		{"5.5p1", "5.5p10", -1},
		{"10xyz", "10.1xyz", -1},
		{"xyz10", "xyz10.1", -1},
		{"xyz.4", "8", -1},
		{"1.0.0", "1.0.00", 0},
		{"20101121", "20101122", -1},
		{"99999999999999999999", "100000000000000000000", -1},
		{"2_0", "2.0", 0},
		{"a+", "a_", 0},
		{"1.0~rc1", "1.0", -1},
		{"1.0~rc1", "1.0~rc2", -1},
		{"1.0~rc1~git1", "1.0~rc1", -1},
		{"1.0^git1", "1.0", 1},
		{"1.0^git1", "1.01", -1},
		{"1.0^20160101", "1.0.1", -1},
		{"1.0~rc1^git1", "1.0~rc1", 1},
		{"1.0^git1~pre", "1.0^git1", -1},
		{"", "1", -1},
		{"7.el9_2.1", "7.el9", 1},
	} {
		if got := compareVersion(tc.a, tc.b); got != tc.want {
			t.Errorf("compareVersion(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
		if got := compareVersion(tc.b, tc.a); got != -tc.want {
			t.Errorf("compareVersion(%q, %q) = %d, want %d", tc.b, tc.a, got, -tc.want)
		}
	}
}

// randomVersions are strings of the characters that versions are made of.
func randomVersions(n int) []string {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]string, n)
	for i := range out {
		b := make([]byte, 1+r.IntN(6))
		for j := range b {
			b[j] = "0019ab.~^_"[r.IntN(10)]
		}
		out[i] = string(b)
	}
	return out
}

func TestCompareVersionAgreesWithRPMUtils(t *testing.T) {
	versions := randomVersions(400)
	for i := 1; i < len(versions); i++ {
		a, b := versions[i-1], versions[i]
		if strings.ContainsAny(a+b, "^") { // go-rpmutils does not know the caret
			continue
		}
		if got, want := compareVersion(a, b), rpmutils.Vercmp(a, b); got != want {
			t.Errorf("compareVersion(%q, %q) = %d, go-rpmutils says %d", a, b, got, want)
		}
	}
}

func TestCompareVersionAgreesWithRPM(t *testing.T) {
	testenv.NeedTool(t, "rpm")
	versions := randomVersions(400)
	// One call for all: rpm's Lua compares, the answer is a character per pair.
	var script strings.Builder
	for i := 1; i < len(versions); i++ {
		script.WriteString("print(rpm.vercmp('" + versions[i-1] + "','" + versions[i] + "') .. ' ')\n")
	}
	out, err := exec.CommandContext(t.Context(), "rpm", "--eval", "%{lua:"+script.String()+"}").CombinedOutput()
	if err != nil {
		t.Fatalf("rpm: %v\n%s", err, out)
	}
	answers := strings.Fields(string(out))
	if len(answers) != len(versions)-1 {
		t.Fatalf("%d answers of rpm for %d pairs: %.200s", len(answers), len(versions)-1, out)
	}
	for i, want := range answers {
		got := map[int]string{-1: "-1", 0: "0", 1: "1"}[compareVersion(versions[i], versions[i+1])]
		if got != want {
			t.Errorf("compareVersion(%q, %q) = %s, rpm says %s", versions[i], versions[i+1], got, want)
		}
	}
}

func TestRelationMatches(t *testing.T) {
	rel := func(s string) Relation {
		f := strings.Fields(s)
		if len(f) == 1 {
			return Relation{Name: f[0]}
		}
		e, v, r := parseEVR(f[2])
		return Relation{Name: f[0], Op: f[1], Epoch: e, Version: v, Release: r}
	}
	for _, tc := range []struct {
		provide, require string
		want             bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a = 1", "a", true},
		{"a", "a >= 1", true},
		{"a = 1.5-2", "a >= 1.5", true},
		{"a = 1.5-2", "a = 1.5", true},
		{"a = 1.5-2", "a = 1.5-3", false},
		{"a = 1.5-2", "a > 1.5", false},
		{"a = 1.5-2", "a < 1.5-3", true},
		{"a = 1:1.0-1", "a >= 2.0", true},
		{"a = 1.0-1", "a >= 1:0.5", false},
		{"a <= 2", "a >= 2", true},
		{"a < 2", "a >= 2", false},
		{"a < 2", "a < 1", true},
		{"a > 2", "a > 3", true},
	} {
		if got := rel(tc.require).matches(rel(tc.provide)); got != tc.want {
			t.Errorf("provide %q, require %q: %t, want %t", tc.provide, tc.require, got, tc.want)
		}
	}
}
