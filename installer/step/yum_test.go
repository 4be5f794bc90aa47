package step

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/test/testenv"
)

// installroot runs programs with another root directory, as far as dnf and rpm have one.
type installroot string

func (root installroot) Run(ctx context.Context, c Cmd) (Output, error) {
	argv := slices.Clone(c.Argv)
	for i, a := range argv {
		argv[i] = strings.Replace(a, "--config=/", "--config="+string(root)+"/", 1)
	}
	option := map[string]string{"rpm": "--root=", "dnf": "--installroot="}[argv[0]]
	argv = slices.Insert(argv, 1, option+string(root))
	if argv[0] == "dnf" {
		argv = append(argv, "--releasever=9", "--setopt=logdir="+string(root))
	}
	return Exec{}.Run(ctx, Cmd{Argv: argv, Env: c.Env})
}

// TestYumConf installs a package with the real dnf on a host whose configuration
// excludes it, in each way that dnf has.
func TestYumConf(t *testing.T) {
	testenv.NeedTool(t, "dnf", "rpm", "rpmbuild", "createrepo_c")
	testenv.NeedRoot(t)
	repo := packageRepo(t)
	plugin := `import dnf
class Refuse(dnf.Plugin):
    name = "refuse"
    def __init__(self, base, cli): raise RuntimeError("a plugin of the host runs")
`
	for name, config := range map[string]string{
		"excludes": "excludepkgs=offk8s-*",
		"others":   "includepkgs=other\ntsflags=test\ncacheonly=1\nplugins=1\npluginpath=%[1]s/plugins\npluginconfpath=%[1]s/plugins",
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			put(t, root+"/plugins/refuse.py", plugin)
			put(t, root+"/etc/dnf/dnf.conf", "[main]\n"+strings.ReplaceAll(config, "%[1]s", root)+"\n")
			put(t, root+"/etc/offk8s/offk8s.repo", "[offk8s]\nname=offk8s\nbaseurl=file://"+repo+"\nenabled=1\ngpgcheck=0\n")
			env := &Env{Root: root, Log: slog.New(slog.DiscardHandler), Run: installroot(root), SetStamp: func(string, string) error { return nil }}
			// Without our configuration, the host's counts: otherwise this tests nothing.
			theirs := []string{"dnf", "-y", "--setopt=reposdir=" + root + "/etc/offk8s", "--disablerepo=*", "--enablerepo=offk8s*", "install", "offk8s-hello"}
			_, _ = env.Run.Run(t.Context(), Cmd{Argv: theirs})
			if _, err := os.Stat(root + "/opt/offk8s-hello"); err == nil {
				t.Fatal("the host's configuration does not matter to dnf")
			}
			p := &Packages{Manager: ManagerDnf, Names: []string{"offk8s-hello"}, Source: root + "/etc/offk8s"}
			if res, err := p.Apply(t.Context(), env); err != nil {
				t.Fatalf("%s: %v", res.State, err)
			}
			if _, err := os.Stat(root + "/opt/offk8s-hello"); err != nil {
				t.Error(err)
			}
		})
	}
}

// packageRepo returns the directory of a repository with one package.
func packageRepo(t *testing.T) string {
	t.Helper()
	top := t.TempDir()
	put(t, top+"/x.spec", `Name: offk8s-hello
Version: 1.0
Release: 1
Summary: a test package
License: none
BuildArch: noarch
%description
A test package.
%install
mkdir -p %{buildroot}/opt
echo hello >%{buildroot}/opt/offk8s-hello
%files
/opt/offk8s-hello
`)
	for _, argv := range [][]string{
		{"rpmbuild", "--quiet", "-bb", "--define", "_topdir " + top, "--define", "_dbpath " + top + "/db", top + "/x.spec"},
		{"createrepo_c", "--quiet", top + "/RPMS/noarch"},
	} {
		if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", argv[0], err, out)
		}
	}
	return top + "/RPMS/noarch"
}

func put(t *testing.T, path, content string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(content), 0o644)
	}
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", path, err))
	}
}
