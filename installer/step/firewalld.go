package step

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// firewalld runs firewall-cmd. A rule is an option of it without "--add-", after "zone=NAME "
// if it is in another zone than the default one; sources are in the trusted zone.
type firewalld struct{}

func (firewalld) name() string { return "firewalld" }

func (firewalld) active(ctx context.Context, env *Env) bool {
	out, err := env.Run.Run(ctx, Cmd{Argv: []string{"firewall-cmd", "--state"}})
	return err == nil && strings.TrimSpace(string(out.Stdout)+string(out.Stderr)) == "running"
}

// place returns the zone of an interface unless it is the default zone, where interfaces
// are that have none.
func (firewalld) place(ctx context.Context, env *Env, iface string) (string, error) {
	if iface == "" {
		return "", nil
	}
	var zones [2]string
	for i, opt := range []string{"--get-zone-of-interface=" + iface, "--get-default-zone"} {
		out, err := env.Run.Run(ctx, Cmd{Argv: []string{"firewall-cmd", opt}})
		if e, ok := errors.AsType[*ExitError](err); ok && strings.Contains(e.Stderr, "no zone") {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		zones[i] = strings.TrimSpace(string(out.Stdout))
	}
	if zones[0] == zones[1] {
		return "", nil
	}
	return "zone=" + zones[0] + " ", nil
}

// split returns the zone of a rule, "" for the default one, its kind and the rest.
func (firewalld) split(rule string) (zone, kind, bare string) {
	bare = rule
	if after, ok := strings.CutPrefix(rule, "zone="); ok {
		zone, bare, _ = strings.Cut(after, " ")
	}
	kind, _, _ = strings.Cut(bare, "=")
	if kind == "source" {
		zone = "trusted"
	}
	return zone, kind, bare
}

func (d firewalld) bare(rule string) string {
	_, _, bare := d.split(rule)
	return bare
}

func (firewalld) wanted(f *Firewall, place string) []string {
	var out []string
	for _, p := range f.Ports {
		port, proto, _ := splitPort(p)
		if len(f.Sources) == 0 {
			out = append(out, place+"port="+port+"/"+proto)
		}
		for _, s := range f.Sources {
			out = append(out, place+richRule(s, fmt.Sprintf(`port port="%s" protocol="%s"`, port, proto)))
		}
	}
	for _, p := range f.Protocols {
		if p == "ipip" {
			p = "4" // the ipip of /etc/protocols is 94
		}
		for _, s := range f.Sources {
			out = append(out, place+richRule(s, fmt.Sprintf(`protocol value="%s"`, p)))
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

func (d firewalld) missing(ctx context.Context, env *Env, rules []string) ([]string, error) {
	var out []string
	for _, permanent := range []bool{false, true} {
		lists := map[[2]string][]string{} // by zone and kind
		for _, r := range rules {
			zone, kind, bare := d.split(r)
			at := [2]string{zone, kind}
			if _, ok := lists[at]; !ok {
				have, err := d.list(ctx, env, permanent, zone, kind)
				if err != nil {
					return nil, err
				}
				lists[at] = have
			}
			if !slices.Contains(lists[at], bare) && !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// list returns the rules of a kind in a zone.
func (firewalld) list(ctx context.Context, env *Env, permanent bool, zone, kind string) ([]string, error) {
	res, err := env.Run.Run(ctx, Cmd{Argv: firewalldArgv(permanent, zone, "--list-"+kind+"s")})
	if err != nil {
		return nil, fmt.Errorf("list firewall rules: %w", err)
	}
	items := strings.Fields(string(res.Stdout))
	if kind == "rich-rule" {
		items = strings.Split(strings.TrimSpace(string(res.Stdout)), "\n")
	}
	for i, item := range items {
		items[i] = kind + "=" + strings.TrimSpace(item)
	}
	return items, nil
}

func firewalldArgv(permanent bool, zone string, opts ...string) []string {
	argv := []string{"firewall-cmd"}
	if permanent {
		argv = append(argv, "--permanent")
	}
	if zone != "" {
		argv = append(argv, "--zone="+zone)
	}
	return append(argv, opts...)
}

// batch is the number of rules in one call. Each call starts Python, which takes long on
// small hosts.
const batch = 100

// each adds or removes rules in as few calls as possible: a call takes rules of one zone and
// one kind.
func (d firewalld) each(ctx context.Context, env *Env, verb string, rules []string) error {
	var order [][2]string // zone and kind
	opts := map[[2]string][]string{}
	for _, r := range rules {
		zone, kind, bare := d.split(r)
		at := [2]string{zone, kind}
		if opts[at] == nil {
			order = append(order, at)
		}
		opts[at] = append(opts[at], "--"+verb+"-"+bare)
	}
	for _, at := range order {
		for part := range slices.Chunk(opts[at], batch) {
			for _, permanent := range []bool{false, true} {
				_, err := env.Run.Run(ctx, Cmd{Argv: firewalldArgv(permanent, at[0], part...)})
				if e, ok := errors.AsType[*ExitError](err); ok && e.Code == invalidZone && verb == "remove" {
					continue // the zone went, and its rules with it
				}
				if err != nil {
					return fmt.Errorf("%s firewall rules %q: %w", verb, part, err)
				}
			}
		}
	}
	return nil
}

// invalidZone is the exit code of firewall-cmd for a zone that does not exist (INVALID_ZONE).
const invalidZone = 112

// add adds those rules again alone that are still missing: a call with several rules succeeds
// if one does (firewall-cmd(1), "sequence options").
func (d firewalld) add(ctx context.Context, env *Env, rules []string) error {
	if err := d.each(ctx, env, "add", rules); err != nil || len(rules) == 1 {
		return err
	}
	left, err := d.missing(ctx, env, rules)
	for _, r := range left {
		err = errors.Join(err, d.each(ctx, env, "add", []string{r}))
	}
	return err
}

func (d firewalld) remove(ctx context.Context, env *Env, rules []string) error {
	return d.each(ctx, env, "remove", rules)
}
