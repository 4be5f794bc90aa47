package yum

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests/catalog"

	"github.com/offk8s/offk8s/bundle/metadata/metadatatest"
)

// source is a repository without signed metadata.
func source() catalog.YumRepository {
	return catalog.YumRepository{ID: "test", BaseURL: metadatatest.Base}
}

// pkg describes one package of a made-up repository in a few words.
type pkg struct {
	nevra     string   // "name-epoch:version-release.arch"
	provides  []string // "name", "name = evr"; the package itself is added
	requires  []string
	conflicts []string
	obsoletes []string
	files     []string // in primary
	more      []string // only in filelists
	href      string
}

func parseNEVRA(s string) NEVRA {
	s, arch := s[:strings.LastIndex(s, ".")], s[strings.LastIndex(s, ".")+1:]
	i := strings.LastIndex(s, "-")
	i = strings.LastIndex(s[:i], "-")
	e, v, r := parseEVR(s[i+1:])
	return NEVRA{Name: s[:i], Epoch: epoch(e), Version: v, Release: r, Arch: arch}
}

func relations(list []string) []Relation {
	var out []Relation
	for _, s := range list {
		if f := strings.Fields(s); len(f) == 3 && !strings.HasPrefix(s, "(") {
			e, v, r := parseEVR(f[2])
			out = append(out, Relation{Name: f[0], Op: f[1], Epoch: e, Version: v, Release: r})
			continue
		}
		out = append(out, Relation{Name: s})
	}
	return out
}

// makeRepo writes repodata for made-up packages with our own writer.
func makeRepo(t testing.TB, packages ...pkg) metadatatest.Files {
	t.Helper()
	var primary, filelists []PackageMeta
	for _, p := range packages {
		n := parseNEVRA(p.nevra)
		m := PackageMeta{
			NEVRA: n, Digest: digest.FromString(p.nevra), Size: 1, Location: n.Path(),
			provides: append(relations(p.provides), Relation{Name: n.Name, Op: "=", Epoch: n.Epoch, Version: n.Version, Release: n.Release}),
			requires: relations(p.requires), conflicts: relations(p.conflicts), obsoletes: relations(p.obsoletes),
		}
		if p.href != "" {
			m.Location = p.href
		}
		for _, f := range p.files {
			m.files = append(m.files, metaFile{path: f})
		}
		primary = append(primary, m)
		for _, f := range p.more {
			m.files = append(m.files, metaFile{path: f})
		}
		filelists = append(filelists, m)
	}
	return repodata(t, map[string][]byte{
		"primary":   document(writePrimary, primary...),
		"filelists": document(writeFilelists, filelists...),
	})
}

// document returns a metadata file with packages.
func document(write func(*writer, []*PackageMeta, time.Time), packages ...PackageMeta) []byte {
	var list []*PackageMeta
	for i := range packages {
		list = append(list, &packages[i])
	}
	w := &writer{}
	w.begin()
	write(w, list, metadatatest.Created)
	return w.b
}

// repodata writes a repomd.xml over the given documents.
func repodata(t testing.TB, documents map[string][]byte) metadatatest.Files {
	t.Helper()
	out := metadatatest.Files{}
	md := &writer{}
	md.begin()
	md.open("repomd", "xmlns", nsRepo)
	for _, kind := range []string{"primary", "filelists"} {
		if err := addPart(md, out, kind, documents[kind], MetadataOptions{Compression: "gz", Created: metadatatest.Created}); err != nil {
			t.Fatal(err)
		}
	}
	md.close("repomd")
	out["repodata/repomd.xml"] = md.b
	return out
}

func readFixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "rpm", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
