package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Package managers that Packages knows.
const (
	ManagerApt = "apt"
	ManagerDnf = "dnf"
	ManagerYum = "yum"
)

// Packages are operating system packages, installed from offk8s's own
// repository only: the host's other repositories are switched off for the call
// and left as they are. Signatures stay checked. Undo removes nothing (other
// software may use them by then); reset reports what had been installed.
type Packages struct {
	Manager string   `json:"manager"` // ManagerApt, ManagerDnf or ManagerYum
	Names   []string `json:"names"`
	// Source is the folder that holds nothing but offk8s's repository
	// definitions, written by File steps before: *.repo for yum and dnf, *.sources
	// or *.list for apt, "/etc/offk8s/yum.repos.d".
	Source string `json:"source"`
	// CAFile is the certificate that the mirror is checked with (apt; a .repo file names its own).
	CAFile string `json:"caFile,omitempty"`
}

// Kind returns "packages".
func (p *Packages) Kind() string { return "packages" }

// Describe lists the names.
func (p *Packages) Describe() string { return "packages " + strings.Join(p.Names, " ") }

// Validate checks the manager and that no name is an option or a path.
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
	errs = append(errs, checkPath("source", p.Source))
	if p.CAFile != "" {
		errs = append(errs, checkPath("caFile", p.CAFile))
	}
	if strings.ContainsAny(p.Source+p.CAFile, `"\; `) {
		errs = append(errs, errors.New("source and caFile: quote, backslash, semicolon or space in a path"))
	}
	return errors.Join(errs...)
}

// packageName accepts what Debian policy and rpm allow in names.
func packageName(n string) bool {
	if n == "" || n[0] == '-' || n[0] == '.' {
		return false
	}
	return !strings.ContainsFunc(n, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("+-._~:^()=", r))
	})
}

// Check asks the package database.
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
		Prior: priorJSON(packagesPrior{missing}),
	}, nil
}

// Apply installs what is missing.
func (p *Packages) Apply(ctx context.Context, env *Env) (Result, error) {
	missing, err := p.missing(ctx, env)
	if err != nil || len(missing) == 0 {
		return Result{State: OK}, err
	}
	if err := p.install(ctx, env, missing); err != nil {
		return Result{}, fmt.Errorf("install %s: %w", strings.Join(missing, " "), err)
	}
	return Result{
		State: Changed, Reason: "installed " + strings.Join(missing, " "),
		Prior: priorJSON(packagesPrior{missing}),
	}, nil
}

// Undo leaves the packages: other software may use them by now. See Stays.
func (p *Packages) Undo(context.Context, *Env, json.RawMessage) error { return nil }

// Stays returns the names of the packages that were not there before.
func (p *Packages) Stays(raw json.RawMessage) []string {
	var prior packagesPrior
	if json.Unmarshal(raw, &prior) != nil {
		return nil
	}
	return prior.Missing
}
