package registry_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/registry"
	"github.com/offk8s/offk8s/test/testenv"
)

// startRegistry runs the registry of Debian, distribution, and returns its address.
func startRegistry(t *testing.T) string {
	t.Helper()
	testenv.NeedTool(t, "docker-registry")
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: \"127.0.0.1:0\"}\n", dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", config)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	listening := regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return m[1]
		}
	}
	t.Fatalf("docker-registry ended: %v", lines.Err())
	return ""
}

// A real registry keeps the bundle, and the second push finds all of it.
func TestDistribution(t *testing.T) {
	address := startRegistry(t) + "/site"
	path, key := bundletest.Small(t)
	b, err := bundle.Open(t.Context(), []string{path}, bundletest.Options(key))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	first, err := push(t, b, address)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := push(t, b, address); err != nil || again.Sent != 0 {
		t.Errorf("second push: %+v, error %v", again, err)
	}
	for _, i := range first.Images {
		ref, err := name.ParseReference(i.Reference)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := remote.Get(ref); err != nil || got.Digest.String() != i.Digest.String() {
			t.Errorf("%+v: %+v, error %v", i, got, err)
		}
	}
	cache, err := registry.NewCache(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	tarball, err := registry.Open(t.Context(), registry.Scheme+address, cache, anonymous)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(io.NewSectionReader(tarball, 0, tarball.Size)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want those of the tarball, %d; error %v", len(got), len(want), err)
	}
}
