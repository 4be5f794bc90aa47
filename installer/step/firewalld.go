package step

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// firewalld runs firewall-cmd. A rule is an option of it without "--add-".
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
			out = append(out, richRule(s, fmt.Sprintf(`port port="%s" protocol="%s"`, port, proto)))
		}
	}
	for _, p := range f.Protocols {
		for _, s := range f.Sources {
			out = append(out, richRule(s, fmt.Sprintf(`protocol value="%s"`, p)))
		}
	}
	for _, s := range f.Trusted {
		n, _ := parseNet(s)
		out = append(out, "source="+n.String())
	}
	return out
}

// richRule returns the rule that accepts an element of the rich language from a source.
func richRule(source, element string) string {
	n, _ := parseNet(source)
	family := "ipv4"
	if n.Addr().Is6() {
		family = "ipv6"
	}
	return fmt.Sprintf(`rich-rule=rule family="%s" source address="%s" %s accept`, family, n, element)
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

// firewalldArgv puts networks into the trusted zone and ports into the default zone.
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
