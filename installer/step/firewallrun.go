package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// firewaller is a firewall that a host may have. Rules are in its own words, so
// that those it lists compare with those that are wanted.
type firewaller interface {
	name() string
	active(ctx context.Context, env *Env) bool
	wanted(f *Firewall) []string
	missing(ctx context.Context, env *Env, rules []string) ([]string, error)
	add(ctx context.Context, env *Env, rules []string) error
	remove(ctx context.Context, env *Env, rules []string) error
}

func firewalls() []firewaller { return []firewaller{firewalld{}, ufw{}} }

// firewallPrior lists the rules that were not there before.
type firewallPrior struct {
	Manager string   `json:"manager"`
	Rules   []string `json:"rules"`
}

// ActiveFirewall names the firewall that is active on a host, "" when none is
// that offk8s knows.
func ActiveFirewall(ctx context.Context, env *Env) string {
	for _, fw := range firewalls() {
		if fw.active(ctx, env) {
			return fw.name()
		}
	}
	return ""
}

// Check compares the active firewall's rules.
func (f *Firewall) Check(ctx context.Context, env *Env) (Result, error) {
	for _, fw := range firewalls() {
		if !fw.active(ctx, env) {
			continue
		}
		missing, err := fw.missing(ctx, env, fw.wanted(f))
		if err != nil || len(missing) == 0 {
			return Result{State: OK, Reason: fw.name()}, err
		}
		return Result{
			State: Differs, Reason: fmt.Sprintf("%s lacks %s", fw.name(), strings.Join(missing, "; ")),
			Prior: priorJSON(firewallPrior{fw.name(), missing}),
		}, nil
	}
	return Result{State: OK, Reason: "no firewall is active"}, nil
}

// Apply adds the missing rules, for now and for after a reboot.
func (f *Firewall) Apply(ctx context.Context, env *Env) (Result, error) {
	res, err := f.Check(ctx, env)
	if err != nil || res.State == OK {
		return res, err
	}
	var p firewallPrior
	if err := json.Unmarshal(res.Prior, &p); err != nil {
		return Result{}, err
	}
	for _, fw := range firewalls() {
		if fw.name() == p.Manager {
			if err := fw.add(ctx, env, p.Rules); err != nil {
				return Result{}, fmt.Errorf("open the firewall: %w", err)
			}
		}
	}
	return Result{State: Changed, Reason: p.Manager + " opened", Prior: res.Prior}, nil
}

// Undo removes the rules that were added, where the firewall is still active.
func (f *Firewall) Undo(ctx context.Context, env *Env, raw json.RawMessage) error {
	var p firewallPrior
	if err := json.Unmarshal(raw, &p); err != nil {
		return fmt.Errorf("firewall: prior state: %w", err)
	}
	for _, fw := range firewalls() {
		if fw.name() != p.Manager {
			continue
		}
		if !fw.active(ctx, env) {
			env.Log.Info("firewall is not active any more, its rules stay", "firewall", p.Manager)
			return nil
		}
		return fw.remove(ctx, env, p.Rules)
	}
	return nil
}

// firewalld drives firewall-cmd. A rule is an option without its --add-, with
// the zone before it for the trusted zone.
type firewalld struct{}

func (firewalld) name() string { return "firewalld" }

func (firewalld) active(ctx context.Context, env *Env) bool {
	out, err := env.Run.Run(ctx, Cmd{Argv: []string{"firewall-cmd", "--state"}})
	return err == nil && strings.TrimSpace(string(out.Stdout)+string(out.Stderr)) == "running"
}

func (firewalld) wanted(f *Firewall) []string {
	var out []string
	for _, p := range f.Ports {
		port, proto, _ := splitPort(p)
		if len(f.Sources) == 0 {
			out = append(out, "port="+port+"/"+proto)
		}
		for _, s := range f.Sources {
			n, _ := parseNet(s)
			family := "ipv4"
			if n.Addr().Is6() {
				family = "ipv6"
			}
			out = append(out, fmt.Sprintf(
				`rich-rule=rule family="%s" source address="%s" port port="%s" protocol="%s" accept`,
				family, n, port, proto))
		}
	}
	for _, s := range f.Trusted {
		n, _ := parseNet(s)
		out = append(out, "source="+n.String())
	}
	return out
}

func (firewalld) missing(ctx context.Context, env *Env, rules []string) ([]string, error) {
	var out []string
	for _, permanent := range []bool{false, true} {
		var have []string
		for _, list := range []struct{ opt, kind string }{
			{"ports", "port"}, {"rich-rules", "rich-rule"}, {"sources", "source"},
		} {
			argv := firewalldArgv(permanent, list.kind, "--list-"+list.opt)
			res, err := env.Run.Run(ctx, Cmd{Argv: argv})
			if err != nil {
				return nil, fmt.Errorf("list firewall rules: %w", err)
			}
			items := strings.Fields(string(res.Stdout))
			if list.kind == "rich-rule" {
				items = strings.Split(strings.TrimSpace(string(res.Stdout)), "\n")
			}
			for _, i := range items {
				have = append(have, list.kind+"="+strings.TrimSpace(i))
			}
		}
		for _, r := range rules {
			if !slices.Contains(have, r) && !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// firewalldArgv puts pods and services into the trusted zone, ports into the default one.
func firewalldArgv(permanent bool, kind, opt string) []string {
	argv := []string{"firewall-cmd"}
	if permanent {
		argv = append(argv, "--permanent")
	}
	if kind == "source" {
		argv = append(argv, "--zone=trusted")
	}
	return append(argv, opt)
}

func (firewalld) each(ctx context.Context, env *Env, verb string, rules []string) error {
	for _, r := range rules {
		kind, _, _ := strings.Cut(r, "=")
		for _, permanent := range []bool{false, true} {
			argv := firewalldArgv(permanent, kind, "--"+verb+"-"+r)
			if _, err := env.Run.Run(ctx, Cmd{Argv: argv}); err != nil {
				return fmt.Errorf("%s firewall rule %q: %w", verb, r, err)
			}
		}
	}
	return nil
}

func (d firewalld) add(ctx context.Context, env *Env, rules []string) error {
	return d.each(ctx, env, "add", rules)
}

func (d firewalld) remove(ctx context.Context, env *Env, rules []string) error {
	return d.each(ctx, env, "remove", rules)
}

// ufw drives ufw. A rule is what "ufw show added" prints after "ufw ".
type ufw struct{}

func (ufw) name() string { return "ufw" }

func (ufw) active(ctx context.Context, env *Env) bool {
	out, err := env.Run.Run(ctx, Cmd{Argv: []string{"ufw", "status"}})
	return err == nil && strings.HasPrefix(string(out.Stdout), "Status: active")
}

func (ufw) wanted(f *Firewall) []string {
	var out []string
	for _, p := range f.Ports {
		port, proto, _ := splitPort(p)
		port = strings.ReplaceAll(port, "-", ":")
		if len(f.Sources) == 0 {
			out = append(out, "allow "+port+"/"+proto)
		}
		for _, s := range f.Sources {
			out = append(out, fmt.Sprintf("allow from %s to any port %s proto %s", ufwNet(s), port, proto))
		}
	}
	for _, s := range f.Trusted {
		// Answers pass by themselves; "to" is for users of node ports that lead to a pod.
		out = append(out, "allow from "+ufwNet(s), "route allow from "+ufwNet(s), "route allow to "+ufwNet(s))
	}
	return out
}

// ufwNet writes a single address without its length, as ufw lists it.
func ufwNet(s string) string {
	n, _ := parseNet(s)
	if n.IsSingleIP() {
		return n.Addr().String()
	}
	return n.String()
}

func (ufw) missing(ctx context.Context, env *Env, rules []string) ([]string, error) {
	res, err := env.Run.Run(ctx, Cmd{Argv: []string{"ufw", "show", "added"}})
	if err != nil {
		return nil, fmt.Errorf("list firewall rules: %w", err)
	}
	var have, out []string
	for line := range strings.Lines(string(res.Stdout)) {
		have = append(have, strings.TrimPrefix(strings.TrimSpace(line), "ufw "))
	}
	for _, r := range rules {
		if !slices.Contains(have, r) {
			out = append(out, r)
		}
	}
	return out, nil
}

func (ufw) add(ctx context.Context, env *Env, rules []string) error {
	for _, r := range rules {
		if _, err := env.Run.Run(ctx, Cmd{Argv: append([]string{"ufw"}, strings.Fields(r)...)}); err != nil {
			return err
		}
	}
	return nil
}

func (ufw) remove(ctx context.Context, env *Env, rules []string) error {
	var errs []error
	for _, r := range rules {
		argv := []string{"ufw", "delete"}
		if rest, ok := strings.CutPrefix(r, "route "); ok {
			argv, r = []string{"ufw", "route", "delete"}, rest
		}
		_, err := env.Run.Run(ctx, Cmd{Argv: append(argv, strings.Fields(r)...)})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
