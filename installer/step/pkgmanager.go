package step

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// CacheDir holds what package managers keep of our repository, apart from what
// they keep of the host's own.
const CacheDir = "/var/cache/offk8s"

// packagesPrior lists what was not installed before.
type packagesPrior struct {
	Missing []string `json:"missing"`
}

// missing asks the package database which names are not installed.
func (p *Packages) missing(ctx context.Context, env *Env) ([]string, error) {
	var out []string
	for _, n := range p.Names {
		argv := []string{"rpm", "-q", "--whatprovides", n}
		if p.Manager == ManagerApt {
			argv = []string{"dpkg-query", "-W", "-f=${db:Status-Abbrev}\n", n}
		}
		res, err := env.Run.Run(ctx, Cmd{Argv: argv})
		exit := (*ExitError)(nil)
		if err != nil && !errors.As(err, &exit) {
			return nil, fmt.Errorf("ask for package %q: %w", n, err)
		}
		if err != nil || p.Manager == ManagerApt && !dpkgInstalled(string(res.Stdout)) {
			out = append(out, n)
		}
	}
	return out, nil
}

// dpkgInstalled reads Status-Abbrev, dpkg-query(1): what is wanted (i, or h for
// a package on hold), then what is. dpkg also knows packages that were removed
// and left their configuration, "rc".
func dpkgInstalled(abbrev string) bool { return len(abbrev) > 1 && abbrev[1] == 'i' }

// install runs the package manager for names.
func (p *Packages) install(ctx context.Context, env *Env, names []string) error {
	if p.Manager == ManagerApt {
		return p.aptInstall(ctx, env, names)
	}
	opts := []string{
		"--setopt=reposdir=" + p.Source, "--setopt=cachedir=" + CacheDir + "/" + p.Manager,
		"--disablerepo=*", "--enablerepo=offk8s*",
	}
	// The mirror may serve another bundle by now than when the cache was filled.
	clean := append(append([]string{p.Manager, "-q", "-y"}, opts...), "clean", "expire-cache")
	if _, err := env.Run.Run(ctx, Cmd{Argv: clean}); err != nil {
		return err
	}
	argv := append(append([]string{p.Manager, "-y"}, opts...), "install")
	_, err := env.Run.Run(ctx, Cmd{Argv: append(argv, names...)})
	return err
}

// aptInstall gives apt a configuration of its own, so that nothing of the
// host's (sources, proxies, hooks) has a say and nothing of it is changed.
func (p *Packages) aptInstall(ctx context.Context, env *Env, names []string) error {
	dir := CacheDir + "/apt"
	for _, d := range []string{dir + "/lists/partial", dir + "/archives/partial"} {
		if _, err := env.makeParents(d + "/x"); err != nil {
			return err
		}
	}
	conf := dir + "/apt.conf"
	if _, err := env.put(place{path: conf, mode: 0o644}, strings.NewReader(p.aptConf(dir))); err != nil {
		return err
	}
	environ := []string{"APT_CONFIG=" + conf, "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1"}
	for _, argv := range [][]string{
		{"apt-get", "-q", "update"},
		append([]string{"apt-get", "-q", "-y", "--no-install-recommends", "install"}, names...),
	} {
		if _, err := env.Run.Run(ctx, Cmd{Argv: argv, Env: environ}); err != nil {
			return err
		}
	}
	return nil
}

// aptConf is the whole configuration, apt.conf(5). APT_CONFIG is read first, so
// Parts and Main keep apt from the host's files. Any error of update is an
// error: the mirror has everything or something is wrong.
func (p *Packages) aptConf(dir string) string {
	conf := []string{
		`Dir::Etc::Parts "/dev/null"`,
		`Dir::Etc::Main "/dev/null"`,
		`Dir::Etc::SourceList "/dev/null"`,
		`Dir::Etc::SourceParts "` + p.Source + `"`,
		`Dir::Etc::Preferences "/dev/null"`,
		`Dir::Etc::PreferencesParts "/dev/null"`,
		`Dir::State::Lists "` + dir + `/lists"`,
		`Dir::Cache "` + dir + `"`,
		`Acquire::AllowInsecureRepositories "false"`,
		`APT::Get::AllowUnauthenticated "false"`,
		`APT::Update::Error-Mode "any"`,
		`APT::Sandbox::User "root"`,
		`DPkg::Lock::Timeout "300"`,
		`Dpkg::Options { "--force-confdef"; "--force-confold"; }`,
	}
	if p.CAFile != "" {
		conf = append(conf, `Acquire::https::CAInfo "`+p.CAFile+`"`)
	}
	return "// written by offk8s\n" + strings.Join(conf, ";\n") + ";\n"
}
