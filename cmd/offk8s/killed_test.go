package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/test/testenv"
)

// killedWorld is a made-up upstream, and the bundle that pack makes of it undisturbed.
type killedWorld struct {
	dir  string
	env  []string
	args []string      // of pack, without the output
	took time.Duration // of the fastest undisturbed run
	want []byte        // the bundle in one file
	old  []byte        // an older bundle
}

// TestPackKilledAnywhere kills pack with SIGKILL at seeded random moments. An output that
// stood before is whole or replaced as a whole, and the next run, with the cache of the
// killed ones, makes the same bytes as one that was never disturbed and leaves no other
// file. OFFK8S_KILLS is how many runs are killed, OFFK8S_KILLS_SEED where to begin.
func TestPackKilledAnywhere(t *testing.T) {
	t.Parallel()
	kills, first := testenv.Number(t, "OFFK8S_KILLS", 8), testenv.Number(t, "OFFK8S_KILLS_SEED", 0)
	w := newKilledWorld(t)
	forms := []string{"one file", "parts", "over an older bundle"}
	killed, seed := 0, first
	for ; killed < kills && seed < first+4*kills; seed++ {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		form := forms[r.IntN(len(forms))]
		out, cache := t.TempDir(), t.TempDir()
		path := filepath.Join(out, "b.tar")
		var before []byte
		if form == "over an older bundle" {
			before = w.old
			if err := os.WriteFile(path, before, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		args := []string{"-o", path, "--cache-dir", cache}
		if form == "parts" {
			args = append(args, "--split", "100K")
		}
		for range 1 + r.IntN(3) { // the same cache takes several of them
			if w.kill(t, time.Duration(r.Int64N(int64(w.took))), args) {
				killed++
			}
			got, err := os.ReadFile(path)
			if err != nil && (before != nil || !os.IsNotExist(err)) || err == nil && !bytes.Equal(got, before) && !bytes.Equal(got, w.want) {
				t.Fatalf("seed %d, %s: %d bytes after a kill, %v, want the older bundle or the new one", seed, form, len(got), err)
			}
		}
		if msg, err := w.pack(args).CombinedOutput(); err != nil {
			t.Fatalf("seed %d, %s: the run after a kill: %v\n%s", seed, form, err, msg)
		}
		if got := w.joined(t, path); !bytes.Equal(got, w.want) {
			t.Errorf("seed %d, %s: %d bytes, want the %d of an undisturbed run", seed, form, len(got), len(w.want))
		}
		if left := leftovers(t, out); len(left) > 0 {
			t.Errorf("seed %d, %s: left %q", seed, form, left)
		}
	}
	t.Logf("%d runs killed, seeds %d to %d", killed, first, seed-1)
	if killed < kills {
		t.Errorf("%d runs were killed before they ended, want %d", killed, kills)
	}
}

func newKilledWorld(t *testing.T) *killedWorld {
	t.Helper()
	w := &killedWorld{dir: t.TempDir()}
	up, err := upstreamtest.Start(t)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeUpstream(up, w.dir); err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(w.dir, "self")
	if err := os.WriteFile(self, upstreamtest.SelfBinary("amd64"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.env = append(os.Environ(), "OFFK8S_CATALOG="+filepath.Join(w.dir, "catalog"), "OFFK8S_SELF=amd64="+self, "HOME="+w.dir)
	w.args = []string{"pack", "-f", filepath.Join(w.dir, "pack.yaml"), "--unsigned"}
	run := func(name, epoch string) []byte {
		path := filepath.Join(w.dir, name)
		cmd := w.pack([]string{"-o", path, "--cache-dir", path + ".cache"})
		cmd.Env = append(cmd.Env, "SOURCE_DATE_EPOCH="+epoch)
		began := time.Now()
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("the undisturbed run: %v\n%s", err, msg)
		}
		w.took = time.Since(began)
		return w.joined(t, path)
	}
	w.old, w.want = run("old.tar", "1700000000"), run("new.tar", "1735689600")
	return w
}

func (w *killedWorld) pack(args []string) *exec.Cmd {
	cmd := exec.Command("offk8s", append(w.args[:len(w.args):len(w.args)], args...)...)
	cmd.Dir, cmd.Env = w.dir, append(w.env[:len(w.env):len(w.env)], "SOURCE_DATE_EPOCH=1735689600")
	return cmd
}

// kill runs pack and kills it after a while. It reports whether pack was still running.
func (w *killedWorld) kill(t *testing.T, after time.Duration, args []string) bool {
	t.Helper()
	cmd := w.pack(args)
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if cmd.Wait() != nil && cmd.ProcessState.ExitCode() == -1 {
		return true
	}
	w.took = min(w.took, time.Since(began)) // the machine was busier before
	return false
}

// joined returns the bundle at path, which is in one file or in parts.
func (w *killedWorld) joined(t *testing.T, path string) []byte {
	t.Helper()
	parts, err := filepath.Glob(path + ".part-*")
	if err != nil {
		t.Fatal(err)
	}
	if len(parts) == 0 {
		parts = []string{path}
	}
	var out []byte
	for _, name := range parts { // sorted
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out
}

// ofBundle matches the files of a bundle b.tar.
var ofBundle = regexp.MustCompile(`^b\.tar(\.lock\.json|\.sha256|\.parts\.json|\.part-[0-9]{3})?$`)

// leftovers returns the files in dir that are not of a bundle b.tar.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if !ofBundle.MatchString(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out
}
