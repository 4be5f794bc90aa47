package yum

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
      platform: [el8.10.0]
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
  context: 9edba152
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
  name: perl-IO-Socket-SSL
  stream: 2.066
  context: "03d935ed"
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
  context: "1e4bbb35"
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
---
document: modulemd-defaults
version: 1
data:
  module: perl-libwww-perl
  stream: 6.34
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
		"perl-IO-Socket-SSL:2.066 perl-IO-Socket-SSL-0:2.066-4.module+el8.3.0+3.noarch",
		"perl-IO-Socket-SSL:2.066 perl-IO-Socket-SSL-0:2.066-4.module+el8.6.0+4.noarch",
	}, got); diff != "" {
		t.Errorf("streams, -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]string{"perl": {"5.26"}, "perl-libwww-perl": nil, "platform": {"el8"}}, r.modules.streams[2].requires); diff != "" {
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

func TestClosureNamesTheStream(t *testing.T) {
	app := modular(t, made(NEVRA{"container-selinux", "2", "2.300.0", "1.module+el8.10.0+2", "noarch"}))
	_, err := Closure(context.Background(), []*Repo{app}, []string{"container-selinux"}, ClosureOptions{})
	if err == nil || !strings.Contains(err.Error(), `it is in stream "4.0" of module "container-tools", which is not the default`) {
		t.Errorf("%v", err)
	}
}
