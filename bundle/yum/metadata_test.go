package yum

import (
	"bytes"
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/test/testenv"

	"github.com/offk8s/offk8s/bundle/metadata/metadatatest"
)

func fixtureMeta(t testing.TB, name string) PackageMeta {
	t.Helper()
	b := readFixture(t, name)
	m, err := FromRPM(bytes.NewReader(b), int64(len(b)), digest.FromBytes(b), "x")
	if err != nil {
		t.Fatal(err)
	}
	m.Location = m.Path()
	return m
}

func TestWriteMetadataIsDeterministicAndReadable(t *testing.T) {
	keys, ring := metadatatest.Key(t)
	for _, compression := range []string{"gz", "zst"} {
		o := MetadataOptions{Compression: compression, Created: metadatatest.Created}
		a, b := fixtureMeta(t, "v4.rpm"), fixtureMeta(t, "sub.rpm")
		first, err := WriteMetadata([]PackageMeta{a, b}, o)
		if err != nil {
			t.Fatal(err)
		}
		second, err := WriteMetadata([]PackageMeta{b, a}, o)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Fatalf("order of packages matters:\n%s", diff)
		}
		first[RepomdPath+".asc"] = sign(t, keys, first[RepomdPath])
		s := source()
		s.SignedMetadata = true
		repo, err := ReadRepo(t.Context(), metadatatest.Files(first), s, "x86_64", ring)
		if err != nil {
			t.Fatal(err)
		}
		if len(repo.Packages) != 2 || repo.Packages[0].String() != "offk8s-fixture-2:1.5~rc1-3.v4.noarch" {
			t.Fatalf("read back %v", repo.Packages)
		}
	}
	if _, err := WriteMetadata(nil, MetadataOptions{Compression: "bz2"}); err == nil {
		t.Fatal("compression bz2 accepted")
	}
	a := fixtureMeta(t, "v4.rpm")
	if _, err := WriteMetadata([]PackageMeta{a, a}, MetadataOptions{Compression: "gz"}); err == nil {
		t.Fatal("two packages at one path accepted")
	}
}

func sign(t testing.TB, keys *trust.KeyPair, data []byte) []byte {
	t.Helper()
	sig, err := trust.SignDetached(keys, data, metadatatest.Created)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func readOf(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// writeRepo puts packages and metadata into a directory as a mirror serves them.
func writeRepo(t testing.TB, dir string, rpms []string, o MetadataOptions) {
	t.Helper()
	var metas []PackageMeta
	for _, name := range rpms {
		m := fixtureMeta(t, name)
		metas = append(metas, m)
		putFile(t, filepath.Join(dir, m.Location), readFixture(t, name))
	}
	metadata, err := WriteMetadata(metas, o)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range metadata {
		putFile(t, filepath.Join(dir, name), b)
	}
}

func putFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// dirGetter reads a repository directory.
type dirGetter string

func (d dirGetter) files(t testing.TB) metadatatest.Files {
	t.Helper()
	out := metadatatest.Files{}
	paths, err := filepath.Glob(filepath.Join(string(d), "repodata", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out["repodata/"+filepath.Base(p)] = b
	}
	return out
}

func TestMetadataAgreesWithCreaterepo(t *testing.T) {
	testenv.NeedTool(t, "createrepo_c")
	ours, theirs := t.TempDir(), t.TempDir()
	rpms := []string{"v4.rpm", "sub.rpm", "unsigned.rpm"}
	writeRepo(t, ours, rpms, MetadataOptions{Compression: "gz", Created: metadatatest.Created})
	writeRepo(t, theirs, rpms, MetadataOptions{Compression: "gz", Created: metadatatest.Created})
	if err := os.RemoveAll(filepath.Join(theirs, "repodata")); err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(theirs, "Packages", "*", "*.rpm"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths { // the file's time goes into the metadata
		if err := os.Chtimes(p, metadatatest.Created, metadatatest.Created); err != nil {
			t.Fatal(err)
		}
	}
	command(t, theirs, "createrepo_c", "--no-database", "--compress-type", "gz", ".")
	for _, kind := range []string{"primary", "filelists", "other"} {
		got := elements(t, dirGetter(ours).files(t), kind)
		want := elements(t, dirGetter(theirs).files(t), kind)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-createrepo_c +ours):\n%s", kind, diff)
		}
	}
}

// elements returns the lines of one metadata file, packages in sorted order.
func elements(t testing.TB, f metadatatest.Files, kind string) []string {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if !strings.Contains(name, "-"+kind+".xml") {
			continue
		}
		r, err := metadata.Decompress(bytes.NewReader(f[name]))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(b.String(), "<package ")
		slices.Sort(parts[1:])
		var lines []string
		for _, part := range parts {
			for line := range strings.Lines(part) {
				if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "</metadata") && !strings.HasPrefix(line, "</filelists") && !strings.HasPrefix(line, "</otherdata") {
					lines = append(lines, line)
				}
			}
		}
		return lines
	}
	t.Fatalf("no %s in %v", kind, slices.Sorted(maps.Keys(f)))
	return nil
}

func command(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	out, err := tryCommand(t, dir, name, args...)
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return out
}

func tryCommand(t testing.TB, dir, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
