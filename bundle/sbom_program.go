package bundle

import (
	"debug/buildinfo"
	"fmt"
	"io"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// ProgramSBOM returns the bill of materials of a program built by Go, such as a release of
// offk8s: the modules in its build info, with their sums in go.sum (module zip, h1). The
// same program gives the same document.
func ProgramSBOM(name string, program io.ReaderAt) (CycloneDX, error) {
	info, err := buildinfo.Read(program)
	if err != nil {
		return CycloneDX{}, fmt.Errorf("modules of %q: %w", name, err)
	}
	sum, err := digest.FromReader(io.NewSectionReader(program, 0, 1<<62))
	if err != nil {
		return CycloneDX{}, fmt.Errorf("digest of %q: %w", name, err)
	}
	main := moduleOf("application", &info.Main)
	main.Name, main.Hashes = name, hashesOf(sum)
	var made time.Time
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.time":
			made, _ = time.Parse(time.RFC3339, s.Value) // not needed: without it the document has no time
		case "GOOS", "GOARCH", "CGO_ENABLED", "vcs.revision", "vcs.modified":
			main.Properties = append(main.Properties, CDXProperty{"go:" + s.Key, s.Value})
		}
	}
	out := CycloneDX{
		BOMFormat: "CycloneDX", SpecVersion: "1.6", SerialNumber: "urn:uuid:" + uuidOf(sum), Version: 1,
		Metadata: CDXMetadata{Timestamp: made, Component: main}, Components: []CDXComponent{},
	}
	std := debug.Module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")}
	uses := CDXDependency{Ref: main.BOMRef}
	for _, m := range append(info.Deps, &std) {
		if m.Replace != nil {
			m = m.Replace
		}
		c := moduleOf("library", m)
		out.Components, uses.DependsOn = append(out.Components, c), append(uses.DependsOn, c.BOMRef)
	}
	out.Dependencies = []CDXDependency{uses}
	return out, nil
}

func moduleOf(kind string, m *debug.Module) CDXComponent {
	namespace, name := path.Split(m.Path)
	// Slashes separate the parts of a namespace, which a package URL escapes one by one.
	purl := strings.ReplaceAll(packageURL("golang", strings.TrimSuffix(namespace, "/"), name, m.Version, nil), "%2F", "/")
	c := CDXComponent{Type: kind, BOMRef: purl, Name: m.Path, Version: m.Version, PURL: purl}
	if m.Sum != "" {
		c.Properties = []CDXProperty{{"go:sum", m.Sum}}
	}
	return c
}
