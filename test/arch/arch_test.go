// Package arch tests the shape of the tree: import direction, package comments,
// and the names in the documents.
package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/test/testenv"
)

const module = "github.com/offk8s/offk8s/"

// forbidden lists imports that break the direction cmd → {installer, mirror} →
// bundle → manifests. Packages below a key must not import, directly or
// indirectly, packages below the listed prefixes.
var forbidden = map[string][]string{
	"manifests": {"bundle", "mirror", "installer", "cmd"},
	"bundle":    {"mirror", "installer", "cmd"},
	"mirror":    {"installer", "cmd"},
	"installer": {"mirror", "cmd"},
	// Planning is pure: it reads facts and makes steps, and executes neither.
	"installer/stage": {"installer/agent", "installer/host"},
	"installer/facts": {"installer/stage", "installer/agent"},
	"installer/probe": {"installer/step", "installer/stage", "installer/agent"},
	"installer/step":  {"installer/facts", "installer/kube", "installer/stage", "installer/agent"},
}

// upstreamSide lists the packages of bundle that connect to upstreams or read their formats.
var upstreamSide = []string{"bundle/fetch", "bundle/unpack", "bundle/yum", "bundle/apt", "bundle/metadata"}

// soleImporter names the one package that may import a third-party library
// directly, so that each can be swapped in one place.
var soleImporter = map[string][]string{
	"github.com/BurntSushi/toml":          {"installer/stage"},
	"github.com/mholt/archiver/v4":        {"bundle/unpack"},
	"github.com/cavaliergopher/grab/v3":   {"bundle/fetch"},
	"github.com/cloudflare/cfssl":         {"installer/pki"},
	"github.com/ProtonMail/go-crypto":     {"bundle/trust"},
	"github.com/vbauerster/mpb/v8":        {"cmd/offk8s"},
	"github.com/spf13/cobra":              {"cmd/offk8s"},
	"github.com/goccy/go-yaml":            {"manifests/strict", "manifests/catalog/gen", "installer/kube"},
	"golang.org/x/crypto/ssh":             {"installer/host"},
	"pault.ag/go/debian":                  {"bundle/apt"},
	"github.com/secure-systems-lab/go-se": {"bundle/trust"},
}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", module+"...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// within reports whether the import path is the package prefix or below it.
func within(path, prefix string) bool {
	path = strings.TrimPrefix(path, module)
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

func testSupport(path string) bool {
	return strings.HasPrefix(path, module+"test/") || strings.HasSuffix(path, "test")
}

func TestImportDirection(t *testing.T) {
	for _, p := range list(t) {
		if testSupport(p.ImportPath) {
			continue
		}
		for from, tos := range forbidden {
			if !within(p.ImportPath, from) {
				continue
			}
			for _, dep := range p.Deps {
				for _, to := range tos {
					if strings.HasPrefix(dep, module) && within(dep, to) {
						t.Errorf("%s imports %s: %s must not depend on %s", p.ImportPath, dep, from, to)
					}
				}
			}
		}
	}
}

// The mirror and the installer read bundles. A client for upstreams in them
// could bypass the signed bundle.
func TestMirrorAndInstallerUseTheReadSide(t *testing.T) {
	for _, p := range list(t) {
		if testSupport(p.ImportPath) || !within(p.ImportPath, "mirror") && !within(p.ImportPath, "installer") {
			continue
		}
		for _, imp := range p.Imports {
			for _, side := range upstreamSide {
				if strings.HasPrefix(imp, module) && within(imp, side) {
					t.Errorf("%s imports %s, which belongs to pack", p.ImportPath, imp)
				}
			}
		}
	}
}

func TestEachLibraryBehindOnePackage(t *testing.T) {
	for _, p := range list(t) {
		if testSupport(p.ImportPath) {
			continue
		}
		for _, imp := range p.Imports {
			for lib, owners := range soleImporter {
				if !strings.HasPrefix(imp, lib) {
					continue
				}
				allowed := false
				for _, owner := range owners {
					allowed = allowed || p.ImportPath == module+owner
				}
				if !allowed {
					t.Errorf("%s imports %s; only %v may", p.ImportPath, imp, owners)
				}
			}
		}
	}
}

// Everything in the repository has its place in the layout; a program that was built
// at the top level must not get in.
func TestTopLevel(t *testing.T) {
	testenv.NeedTool(t, "git")
	cmd := exec.Command("git", "ls-files")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("git ls-files: %v: this is no checkout", err)
	}
	allowed := strings.Fields("cmd bundle mirror manifests installer test docs go.mod go.sum Makefile README.md README.zh-CN.md CHANGELOG.md LICENSE")
	for _, file := range strings.Fields(string(out)) {
		top, _, _ := strings.Cut(file, "/")
		if !strings.HasPrefix(top, ".") && !slices.Contains(allowed, top) {
			t.Errorf("%s: want nothing at the top level but %v and dot files", file, allowed)
		}
	}
}
