package probe

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSync(t *testing.T) {
	root := t.TempDir()
	got := Run(t.Context(), []Probe{{Kind: Sync, Path: filepath.Join(root, "etcd", "none such")}})[0]
	if got.Error != "" || got.Latency <= 0 {
		t.Errorf("latency %s, error %q", got.Latency, got.Error)
	}
	if files, err := os.ReadDir(root); err != nil || len(files) > 0 {
		t.Errorf("error %v, the directory has %v", err, files)
	}
}

func TestPercentile99(t *testing.T) {
	took := make([]time.Duration, 200)
	for i := range took {
		took[i] = time.Duration(200 - i)
	}
	for n, want := range map[int]time.Duration{1: 200, 100: 199, 200: 198} {
		if got := percentile99(append([]time.Duration{}, took[:n]...)); got != want {
			t.Errorf("of %d: %d, want %d", n, got, want)
		}
	}
}

func TestBeside(t *testing.T) {
	root := t.TempDir()
	have := filepath.Join(root, "have")
	if err := os.Mkdir(have, 0o755); err != nil {
		t.Fatal(err)
	}
	up := filepath.Dir(root)
	for dir, want := range map[string]string{have: root, filepath.Join(root, "a", "b"): up, "/proc": "/proc", "/": "/"} {
		if got, err := beside(dir); err != nil || got != want {
			t.Errorf("%s: %q, error %v; want %q", dir, got, err, want)
		}
	}
}
