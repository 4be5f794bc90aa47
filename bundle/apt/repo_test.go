package apt

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests/catalog"

	"github.com/offk8s/offk8s/bundle/metadata/metadatatest"
)

func source() catalog.AptSource {
	return catalog.AptSource{Archive: "debian", Suite: suiteName, Components: []string{"main"}}
}

func options() MetadataOptions {
	return MetadataOptions{Created: metadatatest.Created, Arches: []string{"amd64"}}
}

// signed adds the signatures of keys to f, as pack does.
func signed(t testing.TB, keys *trust.KeyPair, f metadatatest.Files) metadatatest.Files {
	t.Helper()
	var errIn, errDetached error
	f[InReleasePath], errIn = trust.ClearSign(keys, f[ReleasePath], metadatatest.Created)
	f[DetachedPath], errDetached = trust.SignDetached(keys, f[ReleasePath], metadatatest.Created)
	if err := errors.Join(errIn, errDetached); err != nil {
		t.Fatal(err)
	}
	return f
}

// deb makes a .deb with the given control file; compression is of control.tar.
func deb(t testing.TB, control, compression string) []byte {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range []struct{ name, content string }{{"./md5sums", "x\n"}, {"./control", control}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	if err := tar.NewWriter(&data).Close(); err != nil {
		t.Fatal(err)
	}
	out := []byte("!<arch>\n")
	out = arMember(out, "debian-binary", []byte("2.0\n"))
	out = arMember(out, "control.tar"+compression, metadatatest.Compress(t, archive.Bytes(), compression))
	return arMember(out, "data.tar.gz", metadatatest.Compress(t, data.Bytes(), ".gz"))
}

func arMember(out []byte, name string, content []byte) []byte {
	out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "100644", len(content))
	out = append(out, content...)
	if len(content)%2 == 1 {
		out = append(out, '\n')
	}
	return out
}

// control returns a control file; more are further lines.
func control(name, version, arch string, more ...string) string {
	head := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: Nobody <nobody@offk8s.dev>\n", name, version, arch)
	return head + strings.Join(append(more, "Description: test\n long text\n .\n more\n"), "\n")
}

// fromControl makes a package of the control file and reads it as pack does.
func fromControl(t testing.TB, text string) (PackageMeta, []byte) {
	t.Helper()
	b := deb(t, text, ".xz")
	m, err := FromDeb(bytes.NewReader(b), int64(len(b)), digest.FromBytes(b), "x")
	if err != nil {
		t.Fatal(err)
	}
	m.Path = poolPath(m.Name, m.Version, m.Arch)
	return m, b
}

// repository writes a signed repository of the control files.
func repository(t testing.TB, keys *trust.KeyPair, o MetadataOptions, controls ...string) metadatatest.Files {
	t.Helper()
	var metas []PackageMeta
	out := metadatatest.Files{}
	for _, text := range controls {
		m, b := fromControl(t, text)
		metas = append(metas, m)
		out[m.Path] = b
	}
	metadata, err := WriteMetadata(metas, o)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range metadata {
		out[name] = b
	}
	return signed(t, keys, out)
}
