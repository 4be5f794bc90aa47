package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Package managers that Packages knows.
const (
	ManagerApt = "apt"
	ManagerDnf = "dnf"
	ManagerYum = "yum"
)

// Packages are operating system packages, installed from the bundle's repository
// only: the package manager gets a configuration of offk8s for the call, and the
// host's configuration neither matters nor changes.
// The package manager checks signatures. Undo removes no package, since other
// software may use it by then, and the bundle does not have those that apt removed for one;
// reset reports both.
type Packages struct {
	NoUndo
	Manager string   `json:"manager"` // ManagerApt, ManagerDnf or ManagerYum
	Names   []string `json:"names"`
	// Source is the directory of the bundle's repository definitions, and nothing
	// else: *.repo for yum and dnf, *.sources or *.list for apt. Earlier File steps
	// write them.
	Source string `json:"source"`
	// CAFile verifies the mirror's certificate, for apt; a .repo file names its file.
	CAFile string `json:"caFile,omitempty"`
	// Masked are units of the packages that stay down until a Unit step starts them. apt starts
	// what it installs, before a later step has written the configuration.
	Masked []string `json:"masked,omitempty"`
}

func (p *Packages) Kind() string { return "packages" }

func (p *Packages) Describe() string { return "packages " + strings.Join(p.Names, " ") }

func (p *Packages) Validate() error {
	var errs []error
	switch p.Manager {
	case ManagerApt, ManagerDnf, ManagerYum:
	default:
		errs = append(errs, fmt.Errorf("manager %q: want apt, dnf or yum", p.Manager))
	}
	for _, n := range p.Names {
		if !packageName(n) {
			errs = append(errs, fmt.Errorf("package %q: not a package name", n))
		}
	}
	for _, u := range p.Masked {
		if !unitName(u) {
			errs = append(errs, fmt.Errorf("masked %q: not a unit name", u))
		}
	}
	errs = append(errs, checkPath("source", p.Source))
	if p.CAFile != "" {
		errs = append(errs, checkPath("caFile", p.CAFile))
	}
	if strings.ContainsAny(p.Source+p.CAFile, `"\; `) {
		errs = append(errs, errors.New("source and caFile: quote, backslash, semicolon or space in a path"))
	}
	return errors.Join(errs...)
}

// packageName accepts the characters that Debian policy and rpm allow in names.
func packageName(n string) bool {
	if n == "" || n[0] == '-' || n[0] == '.' {
		return false
	}
	return !strings.ContainsFunc(n, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("+-._~:^()=", r))
	})
}

func (p *Packages) Check(ctx context.Context, env *Env) (Result, error) {
	missing, err := p.missing(ctx, env)
	if err != nil {
		return Result{}, err
	}
	if len(missing) == 0 {
		return Result{State: OK}, nil
	}
	return Result{
		State: Differs, Reason: "not installed: " + strings.Join(missing, " "),
		Prior: priorJSON(packagesPrior{Missing: missing}),
	}, nil
}

func (p *Packages) Apply(ctx context.Context, env *Env) (Result, error) {
	missing, err := p.missing(ctx, env)
	if err != nil || len(missing) == 0 {
		return Result{State: OK}, err
	}
	for _, n := range missing {
		if err := env.SetStamp(packageStamp(n), "installed"); err != nil {
			return Result{}, err
		}
	}
	removed, err := p.install(ctx, env, missing)
	if err != nil {
		return Result{}, fmt.Errorf("install %s: %w", strings.Join(missing, " "), err)
	}
	return Result{
		State: Changed, Reason: "installed " + strings.Join(missing, " "),
		Prior: priorJSON(packagesPrior{missing, removed}),
	}, nil
}

func (p *Packages) Retained(raw json.RawMessage) (stays, gone []string) {
	var prior packagesPrior
	if json.Unmarshal(raw, &prior) != nil {
		return nil, nil
	}
	return prior.Missing, prior.Removed
}

// CacheDir is the package managers' cache for the bundle's repository, apart from
// their cache for the host's repositories.
const CacheDir = "/var/cache/offk8s"

// packageStamp is the key of the stamp of a package that a step installs. It is set
// before the transaction, of which an interruption may leave a part.
func packageStamp(name string) string { return "package/" + name }

// packagesPrior lists the packages that were not installed before, and those that apt removed
// because they conflict with them.
type packagesPrior struct {
	Missing []string `json:"missing"`
	Removed []string `json:"removed,omitempty"`
}

// missing asks the package database which names are not installed: first for those of all
// steps of the request, so that one call is enough (see Env.Run), and only if one is missing
// for those of this step, and then for each.
func (p *Packages) missing(ctx context.Context, env *Env) ([]string, error) {
	if wanted := p.wanted(env); len(wanted) > len(p.Names) {
		if all, err := p.installed(ctx, env, wanted...); all && err == nil {
			return nil, nil
		}
	}
	if all, err := p.installed(ctx, env, p.Names...); all || err != nil {
		return nil, err
	}
	var out []string
	for _, n := range p.Names {
		if ok, err := p.installed(ctx, env, n); err != nil {
			return nil, err
		} else if !ok {
			out = append(out, n)
		}
	}
	return out, nil
}

// wanted returns the packages of all steps of the request.
func (p *Packages) wanted(env *Env) []string {
	var out []string
	mine := false
	for _, s := range env.Kept {
		if o, ok := s.(*Packages); ok && o.Manager == p.Manager {
			mine = mine || o == p
			out = union(out, o.Names)
		}
	}
	if !mine {
		return nil
	}
	return out
}

// installed reports whether all names are installed.
func (p *Packages) installed(ctx context.Context, env *Env, names ...string) (bool, error) {
	argv := []string{"rpm", "-q", "--whatprovides"}
	if p.Manager == ManagerApt {
		argv = []string{"dpkg-query", "-W", "-f=${db:Status-Abbrev}\n"}
	}
	res, err := env.Run.Run(ctx, Cmd{Argv: append(argv, names...)})
	if _, exited := errors.AsType[*ExitError](err); exited {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for packages %s: %w", strings.Join(names, " "), err)
	}
	if p.Manager != ManagerApt {
		return true, nil
	}
	// A name has a line for each of its architectures, of which the first counts.
	states := strings.Split(strings.TrimSuffix(string(res.Stdout), "\n"), "\n")
	if len(names) == 1 {
		states = states[:1]
	}
	return !slices.ContainsFunc(states, func(s string) bool { return !dpkgInstalled(s) }), nil
}

// dpkgInstalled parses Status-Abbrev, see dpkg-query(1): the desired state (i, or h
// for a package on hold) and the current state. dpkg also knows packages that were
// removed but left their configuration, "rc".
func dpkgInstalled(abbrev string) bool { return len(abbrev) > 1 && abbrev[1] == 'i' }

// install runs the package manager for names, and returns the packages that it removes for
// them. Only apt does so.
func (p *Packages) install(ctx context.Context, env *Env, names []string) (removed []string, err error) {
	if p.Manager == ManagerApt {
		return p.aptInstall(ctx, env, names)
	}
	return nil, p.yumInstall(ctx, env, names)
}

// yumInstall runs yum or dnf with a separate main configuration, so that the host's
// excludes, repositories, proxies and plugins have no effect.
func (p *Packages) yumInstall(ctx context.Context, env *Env, names []string) error {
	conf := CacheDir + "/" + p.Manager + ".conf"
	if err := env.write(place{path: conf, mode: 0o644}, strings.NewReader(p.yumConf())); err != nil {
		return err
	}
	// The long option, since dnf 5 knows no -c.
	base := []string{p.Manager, "-y", "--config=" + conf, "--disablerepo=*", "--enablerepo=offk8s*"}
	// The mirror may serve another bundle than when the cache was filled.
	if _, err := env.Run.Run(ctx, Cmd{Argv: slices.Concat(base, []string{"-q", "clean", "expire-cache"})}); err != nil {
		return err
	}
	return transaction(ctx, env, Cmd{Argv: slices.Concat(base, []string{"install"}, names)})
}

// The limits of a package manager: of its downloads, of a transaction, and of one that
// goes on after the end of its context.
const (
	downloadLimit     = 2 * time.Hour
	transactionLimit  = 30 * time.Minute
	transactionFinish = 10 * time.Minute
)

// transaction runs a package manager that changes the database of packages. Interrupted,
// it may leave packages in part and a database that needs repair.
func transaction(ctx context.Context, env *Env, c Cmd) error {
	c.Timeout, c.Finish = transactionLimit, transactionFinish
	_, err := env.Run.Run(ctx, c)
	return err
}

// yumConf returns the main configuration for yum 3 and dnf, see yum.conf(5) and
// dnf.conf(5). Both ignore options that they do not know.
func (p *Packages) yumConf() string {
	conf := []string{
		"reposdir=" + p.Source,
		"cachedir=" + CacheDir + "/" + p.Manager,
		"plugins=0", // versionlock, subscription-manager and their like
		"gpgcheck=1",
		"obsoletes=1",
		"best=1",
		"multilib_policy=best",
		"installonly_limit=0", // removes no kernel
		"keepcache=0",
		"color=never",
		"minrate=1000", // bytes a second, for timeout seconds
		"timeout=30",
		"retries=5",
	}
	return "# written by offk8s\n[main]\n" + strings.Join(conf, "\n") + "\n"
}

// aptInstall runs apt with a separate configuration, so that it neither uses nor
// changes the host's sources, proxies and hooks.
func (p *Packages) aptInstall(ctx context.Context, env *Env, names []string) (removed []string, err error) {
	dir := CacheDir + "/apt"
	for _, d := range []string{dir + "/lists/partial", dir + "/archives/partial"} {
		if err := env.makeParents(d + "/x"); err != nil {
			return nil, err
		}
	}
	conf := dir + "/apt.conf"
	if err := env.write(place{path: conf, mode: 0o644}, strings.NewReader(p.aptConf(dir))); err != nil {
		return nil, err
	}
	environ := []string{"APT_CONFIG=" + conf, "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1"}
	get := []string{"apt-get", "-q"}
	install := append([]string{"-y", "--no-install-recommends", "install"}, names...)
	// apt accepts any speed of a mirror that does not stall, so the downloads come first.
	for _, args := range [][]string{{"update"}, append([]string{"--download-only"}, install...)} {
		out, err := env.Run.Run(ctx, Cmd{Argv: slices.Concat(get, args), Env: environ, Timeout: downloadLimit})
		if err != nil {
			return nil, err
		}
		removed = aptRemoves(string(out.Stdout))
	}
	if err := p.mask(ctx, env, "mask"); err != nil {
		return nil, err
	}
	// The mask stays if this fails or is interrupted: a Unit step removes it.
	if err := transaction(ctx, env, Cmd{Argv: slices.Concat(get, install), Env: environ}); err != nil {
		return removed, err
	}
	return removed, p.mask(ctx, env, "unmask")
}

// aptRemoves returns the packages that apt-get announces to remove, in the indented lines
// below a heading.
func aptRemoves(out string) (names []string) {
	_, list, _ := strings.Cut("\n"+out, "\nThe following packages will be REMOVED:\n")
	for line := range strings.Lines(list) {
		if !strings.HasPrefix(line, "  ") {
			break
		}
		names = append(names, strings.Fields(strings.ReplaceAll(line, "*", ""))...)
	}
	return names
}

// mask masks the units of Masked until the next boot, or unmasks them.
func (p *Packages) mask(ctx context.Context, env *Env, verb string) error {
	if len(p.Masked) == 0 {
		return nil
	}
	return env.systemctl(ctx, slices.Concat([]string{verb, "--runtime", "--"}, p.Masked)...)
}

// aptConf returns the configuration, see apt.conf(5). apt reads APT_CONFIG first, so
// Parts and Main keep it from the host's files. Any error of update is fatal, since
// the mirror is complete.
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

func (p *Packages) MergePrior(first, later json.RawMessage) (json.RawMessage, error) {
	var a, b packagesPrior
	if err := unmarshalBoth(first, later, &a, &b); err != nil {
		return nil, err
	}
	a.Missing, a.Removed = union(a.Missing, b.Missing), union(a.Removed, b.Removed)
	return priorJSON(a), nil
}
