// Package testenv decides what a test may use on this machine.
//
// A test that needs root or a program that is not there skips by name, and
// `make test` lists the skipped ones at its end. CI installs everything and
// sets OFFK8S_TEST_REQUIRE_ALL=1, which turns each such skip into a failure, so
// that nothing is skipped without somebody seeing it.
package testenv

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// RequireAll is the variable that turns skips into failures.
const RequireAll = "OFFK8S_TEST_REQUIRE_ALL"

// NeedTool skips t unless every program in names is in PATH.
func NeedTool(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			miss(t, "needs the program "+name)
		}
	}
}

// NeedRoot skips t unless it runs as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		miss(t, "needs root")
	}
}

// Number returns the number in the variable name, or otherwise if it is not set.
func Number(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text, ok := os.LookupEnv(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func miss(t testing.TB, why string) {
	t.Helper()
	if os.Getenv(RequireAll) != "" {
		t.Fatalf("%s, and %s is set", why, RequireAll)
	}
	t.Skip(why)
}
