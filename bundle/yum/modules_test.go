package yum

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/test/testenv"

	"github.com/offk8s/offk8s/bundle/metadata/metadatatest"
)

// modulesYAML is a part of the modules.yaml of EL8 in the forms that its writers use.
const modulesYAML = `---
document: modulemd-defaults
version: 1
data:
  module: container-tools
  stream: rhel8
  profiles:
    rhel8: [common]
...
---
document: modulemd-defaults
version: 1
data:
  module: perl
  modified: 201906261200
  stream: 5.26
---
document: modulemd-defaults
version: 1
data:
  module: perl-IO-Socket-SSL
  stream: "2.066"
---
document: modulemd
version: 2
data:
  name: container-tools
  stream: "rhel8"
  version: 8100020240227110532
  context: 82888897
  arch: x86_64
  summary: Most recent (rolling) versions of podman, buildah, skopeo, runc
  description: >-
    name: not a key
      - nor an item

    Contains the following:
    - x: y
  license:
    module:
    - MIT
  dependencies:
  - buildrequires:
      goset: [rhel8]
      platform: [el8]
    requires:
      platform: [el8]
  profiles:
    common:
      rpms:
      - buildah
  components:
    rpms:
      container-selinux:
        rationale: for policies
        ref: abc
  artifacts:
    rpms:
    - container-selinux-2:2.229.0-1.module+el8.10.0+1.noarch
    - container-selinux-2:2.229.0-1.module+el8.10.0+1.src
...
---
document: modulemd
version: 2
data:
  name: container-tools
  stream: "4.0"
  version: 8100020240227110533
  context: 9edba152
  arch: x86_64
  summary: an older stream
  description: with a higher version in this test
  license:
    module: [MIT]
  dependencies:
  - requires:
      platform:
      - el8
  artifacts:
    rpms:
    - container-selinux-2:2.300.0-1.module+el8.10.0+2.noarch
---
document: modulemd
version: 2
data:
  name: perl
  stream: 5.26
  version: 820181219174508
  context: 9edba152
  arch: x86_64
  summary: Perl
  description: without packages, which BaseOS has
  license:
    module: [MIT]
  dependencies:
  - requires:
      platform: [el8]
---
document: modulemd
version: 2
data:
  name: perl
  stream: 5.30
  version: 8060020220316142542
  context: 466ea64f
  arch: x86_64
  summary: Perl
  description: another stream
  license:
    module: [MIT]
  dependencies:
  - requires:
      platform: [el8]
  artifacts:
    rpms:
    - perl-libs-4:5.30.1-452.module+el8.6.0+5.x86_64
---
document: modulemd
version: 2
data:
  name: perl-IO-Socket-SSL
  stream: 2.066
  version: 8030020201222215140
  context: "03d935ed"
  arch: x86_64
  summary: Perl library for transparent SSL
  description: for the default perl
  license:
    module: [MIT]
  dependencies:
  - requires:
      perl: [5.26]
      perl-libwww-perl: []
      platform: [el8]
  artifacts:
    rpms:
    - perl-IO-Socket-SSL-0:2.066-4.module+el8.3.0+3.noarch
---
document: modulemd
version: 2
data:
  name: perl-IO-Socket-SSL
  stream: 2.066
  version: 8060020220316142542
  context: "1e4bbb35"
  arch: x86_64
  summary: Perl library for transparent SSL
  description: for perl 5.30
  license:
    module: [MIT]
  dependencies:
  - requires:
      perl:
      - "5.30"
      platform: [el8]
  artifacts:
    rpms:
    - perl-IO-Socket-SSL-0:2.066-4.module+el8.6.0+4.noarch
---
document: modulemd-translations
version: 1
data:
  module: perl
  stream: 5.30
  modified: 201905291200
---
document: modulemd-defaults
version: 1
data:
  module: perl-libwww-perl
  stream: 6.34
---
document: modulemd
version: 2
data:
  name: perl-libwww-perl
  stream: 6.34
  version: 8030020201223164340
  context: b967a9a2
  arch: x86_64
  summary: libwww
  description: for the default perl
  license:
    module: [MIT]
  dependencies:
  - requires:
      platform: [el8]
`

func modular(t *testing.T, packages ...Package) *Repo {
	t.Helper()
	r := &Repo{ID: "appstream", Packages: packages}
	if err := r.readModules(strings.NewReader(modulesYAML)); err != nil {
		t.Fatal(err)
	}
	return r
}

func made(nevra NEVRA, requires ...string) Package {
	p := Package{NEVRA: nevra, Provides: []Relation{{Name: nevra.Name, Op: "=", Epoch: nevra.Epoch, Version: nevra.Version, Release: nevra.Release}}}
	for _, r := range requires {
		p.Requires = append(p.Requires, Relation{Name: r})
	}
	return p
}

func TestReadModules(t *testing.T) {
	r := modular(t)
	want := map[string]string{"container-tools": "rhel8", "perl": "5.26", "perl-IO-Socket-SSL": "2.066", "perl-libwww-perl": "6.34"}
	if diff := cmp.Diff(want, r.modules.defaults); diff != "" {
		t.Errorf("defaults, -want +got:\n%s", diff)
	}
	var got []string
	for _, s := range r.modules.streams {
		got = append(got, s.module+":"+s.stream+" "+strings.Join(s.artifacts, " "))
	}
	if diff := cmp.Diff([]string{
		"container-tools:rhel8 container-selinux-2:2.229.0-1.module+el8.10.0+1.noarch container-selinux-2:2.229.0-1.module+el8.10.0+1.src",
		"container-tools:4.0 container-selinux-2:2.300.0-1.module+el8.10.0+2.noarch",
		"perl:5.26 ",
		"perl:5.30 perl-libs-4:5.30.1-452.module+el8.6.0+5.x86_64",
		"perl-IO-Socket-SSL:2.066 perl-IO-Socket-SSL-0:2.066-4.module+el8.3.0+3.noarch",
		"perl-IO-Socket-SSL:2.066 perl-IO-Socket-SSL-0:2.066-4.module+el8.6.0+4.noarch",
		"perl-libwww-perl:6.34 ",
	}, got); diff != "" {
		t.Errorf("streams, -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]string{"perl": {"5.26"}, "perl-libwww-perl": nil, "platform": {"el8"}}, r.modules.streams[4].requires); diff != "" {
		t.Errorf("requires, -want +got:\n%s", diff)
	}
	if err := r.readModules(strings.NewReader(strings.Repeat("x", maxModuleLine+1))); err == nil || !strings.Contains(err.Error(), "a line of more than") {
		t.Errorf("a long line: %v", err)
	}
}

// The trap of EL8: of container-selinux the highest version is in a stream that nobody
// enabled, of perl-IO-Socket-SSL the highest build needs another perl.
func TestClosureTakesDefaultStreams(t *testing.T) {
	noarch := func(name, epoch, version, release string) NEVRA {
		return NEVRA{name, epoch, version, release, "noarch"}
	}
	app := modular(t,
		made(noarch("container-selinux", "2", "2.300.0", "1.module+el8.10.0+2")),
		made(noarch("container-selinux", "2", "2.229.0", "1.module+el8.10.0+1")),
		made(noarch("perl-IO-Socket-SSL", "", "2.066", "4.module+el8.6.0+4"), "perl530"),
		made(noarch("perl-IO-Socket-SSL", "0", "2.066", "4.module+el8.3.0+3")),
		made(noarch("keepalived", "0", "2.1.5", "9.el8"), "perl-IO-Socket-SSL"))
	// Without a module, of the name of one in an active stream.
	base := &Repo{ID: "baseos", Packages: []Package{made(noarch("container-selinux", "9", "9", "1.el8"))}}
	got, err := Closure(context.Background(), []*Repo{base, app}, []string{"container-selinux", "keepalived"}, ClosureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range got {
		names = append(names, p.String())
	}
	want := []string{
		"container-selinux-2:2.229.0-1.module+el8.10.0+1.noarch", "keepalived-2.1.5-9.el8.noarch",
		"perl-IO-Socket-SSL-2.066-4.module+el8.3.0+3.noarch",
	}
	if !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}

// modularPackages are in and beside the modules of modulesYAML.
var modularPackages = []string{
	"container-selinux-2:2.300.0-1.module+el8.10.0+2.noarch", "container-selinux-2:2.229.0-1.module+el8.10.0+1.noarch",
	"container-selinux-9:9-1.el8.noarch", "perl-libs-4:5.30.1-452.module+el8.6.0+5.x86_64", "perl-libs-4:5.26.3-422.el8.x86_64",
	"perl-IO-Socket-SSL-0:2.066-4.module+el8.6.0+4.noarch", "perl-IO-Socket-SSL-0:2.066-4.module+el8.3.0+3.noarch",
	"keepalived-0:2.1.5-9.el8.x86_64",
}

// dnf is the judge of which packages of a repository with modules it offers.
func TestDnfHidesTheSamePackages(t *testing.T) {
	testenv.NeedTool(t, "dnf")
	testenv.NeedRoot(t)
	var packages []pkg
	for _, nevra := range modularPackages {
		packages = append(packages, pkg{nevra: nevra})
	}
	served := withModules(t, makeRepo(t, packages...))
	repo, err := ReadRepo(t.Context(), served, source(), "x86_64", nil)
	if err != nil {
		t.Fatal(err)
	}
	hidden := hiddenByModules([]*Repo{repo})
	var want []string
	for i := range repo.Packages {
		if p := &repo.Packages[i]; hidden[p] == nil {
			want = append(want, p.artifact())
		}
	}
	slices.Sort(want)
	dir := t.TempDir()
	for name, content := range served {
		putFile(t, filepath.Join(dir, name), content)
	}
	conf := filepath.Join(dir, "dnf.conf")
	putFile(t, conf, []byte("[main]\nreposdir=/dev/null\ncachedir="+dir+"/cache\nmodule_platform_id=platform:el8\n[our]\nname=our\nbaseurl="+serveDir(t, dir)+"\n"))
	out, err := tryCommand(t, dir, "dnf", "-y", "-q", "-c", conf, "--installroot", filepath.Join(dir, "root"), "--releasever=8", "--forcearch=x86_64",
		"repoquery", "--available", "--qf", "%{name}-%{epoch}:%{version}-%{release}.%{arch}\n")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := strings.Fields(out)
	slices.Sort(got)
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("-dnf +we:\n%s", diff)
	}
	if len(want) != 4 {
		t.Errorf("%q are not hidden, want 4", want)
	}
}

// withModules adds modulesYAML to a repository.
func withModules(t *testing.T, f metadatatest.Files) metadatatest.Files {
	t.Helper()
	md := &writer{}
	if err := addPart(md, f, kindModules, []byte(modulesYAML), MetadataOptions{Compression: "gz", Created: metadatatest.Created}); err != nil {
		t.Fatal(err)
	}
	const repomd = "repodata/repomd.xml"
	f[repomd] = bytes.Replace(f[repomd], []byte("</repomd>"), append(md.b, "</repomd>"...), 1)
	return f
}

func FuzzReadModules(f *testing.F) {
	f.Add([]byte(modulesYAML))
	f.Add([]byte("---\ndata:\n- - a: [b, 'c'\n  : x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readModules(bytes.NewReader(b))
		if err == nil && strings.Count(string(b), "modulemd") < len(m.streams) {
			t.Errorf("%d streams", len(m.streams))
		}
	})
}

func TestClosureNamesTheStream(t *testing.T) {
	app := modular(t, made(NEVRA{"container-selinux", "2", "2.300.0", "1.module+el8.10.0+2", "noarch"}))
	_, err := Closure(context.Background(), []*Repo{app}, []string{"container-selinux"}, ClosureOptions{})
	if err == nil || !strings.Contains(err.Error(), `it is in stream "4.0" of module "container-tools", which is not the default`) {
		t.Errorf("%v", err)
	}
}
