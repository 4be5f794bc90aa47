package apt

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/test/testenv"

	"github.com/offk8s/offk8s/bundle/metadata/metadatatest"
)

// TestClosureAgreesWithApt draws random sets of packages from the archive in the
// lists of this machine and asks apt, in an empty root, whether each can be
// installed: from the whole archive, and from a repository of nothing but our
// closure. OFFK8S_CLOSURE_SETS is how many, OFFK8S_CLOSURE_SEED where to begin.
func TestClosureAgreesWithApt(t *testing.T) {
	testenv.NeedTool(t, "apt-get")
	a := machineArchive(t)
	whole, closed := newSimulation(t), newSimulation(t)
	for _, s := range a.suites {
		whole.repository(t, s.Name, a.indexOf(s.Packages))
	}
	installs := whole.installs
	if _, long := os.LookupEnv("OFFK8S_CLOSURE_SETS"); long {
		installs = whole.library(t)
	}
	x := newIndex(a.suites, ClosureOptions{Arch: "amd64"})
	sets, first := testenv.Number(t, "OFFK8S_CLOSURE_SETS", 10), testenv.Number(t, "OFFK8S_CLOSURE_SEED", 0)
	var installable, refused, gaveUp int
	for seed := first; seed < first+sets; seed++ {
		names := a.set(uint64(seed))
		packages, err := x.closure(t.Context(), names, nil)
		whole := installs(t, names)
		if err != nil {
			refused++
			if whole == "" {
				t.Errorf("set %d %q: apt installs it, we say %v", seed, names, err)
			}
			continue
		}
		installable++
		closed.repository(t, "closure", a.indexOf(packages))
		if out := closed.installs(t, names); out != "" {
			t.Errorf("set %d %q: apt does not install it from our closure:\n%s", seed, names, out)
		} else if whole != "" {
			gaveUp++
			t.Logf("set %d %q: apt gives up in the whole archive, and installs it from our closure:\n%s", seed, names, whole)
		}
	}
	t.Logf("from set %d: %d installable (apt gave up on %d of them in the whole archive), %d refused by both", first, installable, gaveUp, refused)
}

// archive is a Debian archive as the lists of this machine's apt have it.
type archive struct {
	suites  []*Suite
	stanzas map[string]string // by "name version arch"
	names   []string
	// quarrels are pairs of packages, one of which conflicts with the other.
	quarrels [][2]string
}

func machineArchive(t *testing.T) *archive {
	t.Helper()
	list, err := exec.Command("apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages", "Origin: Debian", "Architecture: amd64").Output()
	if err != nil || len(list) == 0 {
		t.Skip("apt has no lists of Debian's archive for amd64 here") // another distribution, or never updated
	}
	a := &archive{stanzas: map[string]string{}}
	field := regexp.MustCompile(`(?m)^(Package|Version|Architecture): (.*)$`)
	for i, file := range strings.Fields(string(list)) {
		text, err := exec.Command("/usr/lib/apt/apt-helper", "cat-file", file).Output()
		if err != nil {
			t.Fatal(err)
		}
		s := &Suite{Name: "suite" + strconv.Itoa(i)}
		if err := s.readPackages(bytes.NewReader(text), metadatatest.Base, "amd64"); err != nil {
			t.Fatal(err)
		}
		for stanza := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
			id := map[string]string{}
			for _, m := range field.FindAllStringSubmatch(stanza, -1) {
				id[m[1]] = m[2]
			}
			a.stanzas[id["Package"]+" "+id["Version"]+" "+id["Architecture"]] = stanza + "\n\n"
		}
		for _, p := range s.Packages {
			a.names = append(a.names, p.Name)
		}
		a.suites = append(a.suites, s)
	}
	known := map[string]bool{}
	for _, name := range a.names {
		known[name] = true
	}
	for _, s := range a.suites {
		for _, p := range s.Packages {
			for _, c := range possibilities(p.conflicts) {
				if known[c.Name] && c.Name != p.Name && c.Arch == nil {
					a.quarrels = append(a.quarrels, [2]string{p.Name, c.Name})
				}
			}
		}
	}
	return a
}

func (a *archive) indexOf(packages []Package) []byte {
	var out bytes.Buffer
	for _, p := range packages {
		out.WriteString(a.stanzas[p.String()])
	}
	return out.Bytes()
}

// set returns a random set of packages, every tenth a large one. Every fourth has
// a package and something that it conflicts with.
func (a *archive) set(seed uint64) []string {
	r := rand.New(rand.NewPCG(seed, 0))
	names := make([]string, 1+r.IntN(8))
	if seed%10 == 9 {
		names = make([]string, 20+r.IntN(20))
	}
	for i := range names {
		names[i] = a.names[r.IntN(len(a.names))]
	}
	if seed%4 == 3 {
		p := a.quarrels[r.IntN(len(a.quarrels))]
		names = append(names, p[0], p[1])
	}
	return names
}

// simulation is an apt with an empty root that installs nothing.
type simulation struct{ aptClient }

func newSimulation(t *testing.T) simulation {
	t.Helper()
	c := newAptClient(t, "", nil)
	if err := os.Remove(filepath.Join(c.dir, "etc/our.sources")); err != nil {
		t.Fatal(err)
	}
	return simulation{c}
}

// repository writes the list of a repository as apt-get update would.
func (s simulation) repository(t *testing.T, name string, index []byte) {
	t.Helper()
	for file, b := range map[string][]byte{
		"etc/" + name + ".list":                []byte("deb [trusted=yes] file:/" + name + " ./\n"),
		"state/lists/_" + name + "_._Packages": index,
	} {
		if err := os.WriteFile(filepath.Join(s.dir, file), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// installs asks apt-get whether it installs the packages and returns "", or the
// reason against it.
func (s simulation) installs(t *testing.T, names []string) string {
	t.Helper()
	out, err := s.run(t, append([]string{"-y", "-qq", "--no-install-recommends", "--print-uris", "install"}, names...)...)
	if err == nil {
		return ""
	}
	if !strings.Contains(out, "E: Unable to correct problems") {
		t.Fatalf("apt-get: %v\n%s", err, out)
	}
	return out
}

// library returns a function like installs that asks apt's library in one process,
// and apt-get only for the reason. It is four times as fast.
func (s simulation) library(t *testing.T) func(*testing.T, []string) string {
	t.Helper()
	cmd := exec.Command("/usr/bin/python3", "testdata/resolve.py")
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(s.dir, "etc", "apt.conf"))
	cmd.Stderr = os.Stderr
	ask, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = ask.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	lines := bufio.NewReader(answers)
	return func(t *testing.T, names []string) string {
		t.Helper()
		if _, err := fmt.Fprintln(ask, strings.Join(names, " ")); err != nil {
			t.Fatal(err)
		}
		answer, err := lines.ReadString('\n')
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if answer == "yes\n" {
			return ""
		}
		return s.installs(t, names)
	}
}
