package bundle_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/test/testenv"
)

func run(t testing.TB, dir, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestReadmeCommands runs the commands of README.txt, taken from the file
// itself, on a good bundle and on one with an altered blob.
func TestReadmeCommands(t *testing.T) {
	testenv.NeedTool(t, "sh", "tar", "openssl", "sha256sum", "sha512sum")
	path, key := bundletest.Small(t)
	readme := string(bundletest.Open(t).HeadFile(bundle.MemberReadme))
	lines := regexp.MustCompile(`(?m)^    ((?:openssl|mkdir|for) .*)$`).FindAllStringSubmatch(readme, -1)
	if len(lines) != 5 {
		t.Fatalf("%d commands in README.txt, expected 5:\n%s", len(lines), readme)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "offk8s.pub"), key.PublicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	fingerprint := strings.TrimPrefix(key.Fingerprint(), "sha256:")
	if out, err := run(t, dir, "sh", "-c", lines[0][1]); err != nil || !strings.Contains(out, fingerprint) || !strings.Contains(readme, fingerprint) {
		t.Errorf("fingerprint: %v: %s", err, out)
	}
	if out, err := run(t, dir, "sh", "-c", strings.ReplaceAll(lines[1][1], "BUNDLE", path)); err != nil {
		t.Fatalf("unpack: %v: %s", err, out)
	}
	dir = filepath.Join(dir, "bundle")
	if out, err := run(t, dir, "sh", "-c", strings.Replace(lines[2][1], "offk8s.pub", "../offk8s.pub", 1)); err != nil || strings.TrimSpace(out) != "Verified OK" {
		t.Errorf("openssl: %v: %s", err, out)
	}
	hash := func() string {
		out256, _ := run(t, dir, "sh", "-c", lines[3][1])
		out512, _ := run(t, dir, "sh", "-c", lines[4][1])
		return out256 + strings.TrimPrefix(out512, "sha512sum: 'standard input': no properly formatted checksum lines found\n")
	}
	if out := hash(); strings.Contains(out, "FAILED") {
		t.Errorf("good blobs: %s", out)
	}
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	if err != nil || len(blobs) == 0 {
		t.Fatalf("%d blobs, %v", len(blobs), err)
	}
	if err := os.WriteFile(blobs[0], []byte("altered"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := hash(); !strings.Contains(out, filepath.Base(blobs[0])+": FAILED") {
		t.Errorf("an altered blob passes: %s", out)
	}
}

// TestSpecifiedCommands runs the "By hand" part of README.md of this directory.
func TestSpecifiedCommands(t *testing.T) {
	testenv.NeedTool(t, "sh", "tar", "openssl", "sha256sum", "jq")
	spec, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, script, found := strings.Cut(string(spec), "## By hand\n")
	if !found {
		t.Fatal("README.md has no part \"By hand\"")
	}
	var commands []string
	for line := range strings.Lines(script) {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			commands = append(commands, code)
		}
	}
	small := bundletest.New(t)
	small.AddSmall(t)
	path, dir := filepath.Join(t.TempDir(), "bundle.tar"), t.TempDir()
	split(t, small, path, 8<<10)
	write(t, path, small.Bytes(t)) // beside its parts
	write(t, filepath.Join(dir, "offk8s.pub"), small.Key.PublicPEM())
	out, err := run(t, dir, "sh", "-ec", strings.ReplaceAll(strings.Join(commands, ""), "b.tar", path))
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b := bundletest.Open(t)
	want := []string{"Verified OK", "bundle/lock  sha256:", "bundle/offk8s.asc  sha256:"}
	for _, e := range b.Images() {
		want = append(want, e.Name)
	}
	for _, f := range b.Files() {
		want = append(want, f.Label()+"  "+f.Blob.Digest.String())
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			t.Errorf("%q is not in the output:\n%s", text, out)
		}
	}
	if strings.Contains(out, "FAILED") {
		t.Errorf("hashes:\n%s", out)
	}
	if n := strings.Count(out, "Verified OK"); n != 2 {
		t.Errorf("%d signatures are good, want those of index.json and of the list of parts:\n%s", n, out)
	}
}

// TestSkopeo copies the images out of a bundle with skopeo.
func TestSkopeo(t *testing.T) {
	testenv.NeedTool(t, "skopeo")
	const big = "registry.k8s.io/big:1" // its layer begins at a multiple of 4096 bytes
	builder := bundletest.New(t)
	builder.AddSmall(t)
	builder.AddImageOf(t, big, noisy(100_000, 1))
	path := builder.Seal(t)
	for _, name := range []string{bundletest.PauseImage, bundletest.CoreDNSImage, big} {
		dest := filepath.Join(t.TempDir(), "image")
		out, err := run(t, "", "skopeo", "--override-os=linux", "--override-arch=amd64", "--insecure-policy",
			"copy", "oci-archive:"+path+":"+name, "dir:"+dest)
		if err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
			continue
		}
		b, err := os.ReadFile(filepath.Join(dest, "manifest.json"))
		if err != nil {
			t.Fatal(err)
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(b, &m); err != nil || len(m.Layers) != 1 {
			t.Errorf("%s: manifest %s, %v", name, b, err)
		}
		if _, err := os.Stat(filepath.Join(dest, m.Layers[0].Digest.Encoded())); err != nil {
			t.Error(err)
		}
	}
	if out, err := run(t, "", "skopeo", "--insecure-policy", "copy", "oci-archive:"+path+":no/such:image", "dir:"+t.TempDir()); err == nil {
		t.Errorf("skopeo finds an image that is not there: %s", out)
	}
}

// skopeo refuses images in Docker's format in the layout of a bundle, and reads them from
// the directory of extract, with their digest.
func TestSkopeoDockerFormat(t *testing.T) {
	testenv.NeedTool(t, "skopeo")
	const name = "k8s.gcr.io/pause:3.1"
	builder := bundletest.New(t)
	builder.AddDockerImage(t, name)
	builder.AddImage(t, bundletest.CoreDNSImage, "amd64")
	path := builder.Seal(t)
	b, err := bundle.Open(t.Context(), []string{path}, bundletest.Options(builder.Key))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	skopeo := func(from, to string) (string, error) {
		return run(t, "", "skopeo", "--override-os=linux", "--override-arch=amd64", "--insecure-policy", "copy", from, to)
	}
	if out, err := skopeo("oci-archive:"+path+":"+name, "dir:"+t.TempDir()); err == nil {
		t.Errorf("skopeo reads Docker's format from a layout now; the help of extract says that it does not: %s", out)
	}
	for _, image := range b.Images() {
		got, err := b.ExtractImageDir(t.Context(), root, image)
		if err != nil {
			t.Fatal(err)
		}
		out, err := run(t, "", "sha256sum", filepath.Join(dir, got, "manifest.json"))
		if err != nil || !strings.HasPrefix(out, image.Descriptor.Digest.Encoded()) {
			t.Errorf("%s: manifest %s, want %s: %v", image.Name, out, image.Descriptor.Digest, err)
		}
		copied := t.TempDir()
		if out, err := skopeo("dir:"+filepath.Join(dir, got), "dir:"+copied); err != nil {
			t.Errorf("%s: %v: %s", image.Name, err, out)
			continue
		}
		if names, err := filepath.Glob(filepath.Join(copied, "*")); err != nil || len(names) != 4 {
			t.Errorf("%s: %v, want version, manifest, config and layer", image.Name, names)
		}
	}
}
