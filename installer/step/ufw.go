package step

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ufw runs the ufw command. A rule is a line of "ufw show added" without "ufw ".
type ufw struct{}

func (ufw) name() string { return "ufw" }

func (ufw) active(ctx context.Context, env *Env) bool {
	out, err := env.Run.Run(ctx, Cmd{Argv: []string{"ufw", "status"}})
	return err == nil && strings.HasPrefix(string(out.Stdout), "Status: active")
}

// place is empty: a rule of ufw holds for all interfaces.
func (ufw) place(context.Context, *Env, string) (string, error) { return "", nil }

func (ufw) bare(rule string) string { return rule }

func (ufw) wanted(f *Firewall, _ string) []string {
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
	for _, p := range f.Protocols {
		for _, s := range f.Sources {
			rule := "allow from " + ufwNet(s)
			if p != "ipip" { // ufw does not know it, so that the rule allows all of the source
				rule += " proto " + p
			}
			out = append(out, rule)
		}
	}
	for _, s := range f.Trusted {
		// Replies pass anyway; "to" is for clients of node ports that lead to a pod.
		out = append(out, "allow from "+ufwNet(s), "route allow from "+ufwNet(s), "route allow to "+ufwNet(s))
	}
	return out
}

// ufwNet formats a single address without its prefix length, as ufw lists it.
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
	var have []string
	for line := range strings.Lines(string(res.Stdout)) {
		have = append(have, strings.TrimPrefix(strings.TrimSpace(line), "ufw "))
	}
	return slices.DeleteFunc(slices.Clone(rules), func(r string) bool { return slices.Contains(have, r) }), nil
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
