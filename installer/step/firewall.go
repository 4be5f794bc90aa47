package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Firewall opens ports and protocols in the host's firewall, firewalld or ufw, if one is active.
// It never switches a firewall on or off.
type Firewall struct {
	// Ports are ports or ranges, "6443/tcp", "30000-32767/tcp", "8472/udp".
	Ports []string `json:"ports,omitempty"`
	// Protocols are IP protocols without ports, "vrrp"; they need Sources.
	Protocols []string `json:"protocols,omitempty"`
	// Sources are the addresses or networks that may use ports and protocols; without
	// any, every client may use the ports.
	Sources []string `json:"sources,omitempty"`
	// Interface is the interface that the packets arrive on. In firewalld its zone has the
	// rules; without it, the default zone has them.
	Interface string `json:"interface,omitempty"`
	// Trusted are networks whose traffic is accepted and forwarded: pods and services.
	Trusted []string `json:"trusted,omitempty"`
}

func (f *Firewall) Kind() string { return "firewall" }

func (f *Firewall) Describe() string {
	var w []string
	if len(f.Ports) > 0 {
		w = append(w, "ports "+strings.Join(f.Ports, " "))
	}
	if len(f.Protocols) > 0 {
		w = append(w, "protocols "+strings.Join(f.Protocols, " "))
	}
	if len(f.Sources) > 0 {
		w = append(w, "from "+strings.Join(f.Sources, " "))
	}
	if len(f.Trusted) > 0 {
		w = append(w, "trusted "+strings.Join(f.Trusted, " "))
	}
	return "firewall " + strings.Join(w, ", ")
}

func (f *Firewall) Validate() error {
	var errs []error
	for _, p := range f.Ports {
		if _, _, err := splitPort(p); err != nil {
			errs = append(errs, err)
		}
	}
	for _, p := range f.Protocols {
		if !slices.Contains(protocols, p) {
			errs = append(errs, fmt.Errorf("protocol %q: not one of %s", p, strings.Join(protocols, ", ")))
		}
	}
	errs = append(errs, checkLine("interface", f.Interface))
	if len(f.Protocols) > 0 && len(f.Sources) == 0 {
		errs = append(errs, errors.New("protocols: without sources"))
	}
	for _, s := range append(append([]string{}, f.Sources...), f.Trusted...) {
		if _, err := parseNet(s); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// protocols are those that firewalld and ufw both know by name; ufw knows vrrp since
// 0.36.2, which Debian 12 has. ipip is IP protocol 4, for which they have no common name.
var protocols = []string{"ah", "esp", "gre", "igmp", "ipip", "vrrp"}

// splitPort splits "30000-32767/tcp" into "30000-32767" and "tcp".
func splitPort(p string) (ports, proto string, err error) {
	ports, proto, _ = strings.Cut(p, "/")
	if proto != "tcp" && proto != "udp" {
		return "", "", fmt.Errorf("port %q: want number/tcp or number/udp", p)
	}
	from, to, ranged := strings.Cut(ports, "-")
	a, errA := strconv.ParseUint(from, 10, 16)
	b := a
	var errB error
	if ranged {
		b, errB = strconv.ParseUint(to, 10, 16)
	}
	if errA != nil || errB != nil || a == 0 || b < a {
		return "", "", fmt.Errorf("port %q: want 1 to 65535 or a range", p)
	}
	return ports, proto, nil
}

// parseNet parses an address or a network.
func parseNet(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("source %q: want an address or a network", s)
	}
	return p.Masked(), nil
}

// firewaller is a kind of firewall. It formats rules as its program lists them, so
// that existing and wanted rules compare.
type firewaller interface {
	name() string
	active(ctx context.Context, env *Env) bool
	// place returns the prefix of the rules for an interface, "" if they have none.
	place(ctx context.Context, env *Env, iface string) (string, error)
	// wanted returns the rules of a step; place is that of its interface.
	wanted(f *Firewall, place string) []string
	// bare returns a rule without its place.
	bare(rule string) string
	missing(ctx context.Context, env *Env, rules []string) ([]string, error)
	add(ctx context.Context, env *Env, rules []string) error
	remove(ctx context.Context, env *Env, rules []string) error
}

func firewalls() []firewaller { return []firewaller{firewalld{}, ufw{}} }

// firewallPrior lists the rules that Apply added.
type firewallPrior struct {
	Manager string   `json:"manager"`
	Rules   []string `json:"rules"`
}

// ActiveFirewall returns the firewall that is active on a host, "firewalld" or
// "ufw", or "" if neither is.
func ActiveFirewall(ctx context.Context, env *Env) string {
	for _, fw := range firewalls() {
		if fw.active(ctx, env) {
			return fw.name()
		}
	}
	return ""
}

// wants reports whether rule is one of the step's in the firewall of that name, at any
// place: where an interface of another step is may have changed.
func (f *Firewall) wants(manager, rule string) bool {
	return slices.ContainsFunc(firewalls(), func(fw firewaller) bool {
		return fw.name() == manager && slices.Contains(fw.wanted(f, ""), fw.bare(rule))
	})
}

func (f *Firewall) Check(ctx context.Context, env *Env) (Result, error) {
	for _, fw := range firewalls() {
		if !fw.active(ctx, env) {
			continue
		}
		wanted, err := f.rules(ctx, env, fw)
		if err != nil {
			return Result{}, err
		}
		missing, err := fw.missing(ctx, env, wanted)
		excess := f.excess(env, fw, wanted)
		if err != nil || len(missing)+len(excess) == 0 {
			return Result{State: OK, Reason: fw.name()}, err
		}
		var reasons []string
		if len(missing) > 0 {
			reasons = append(reasons, fmt.Sprintf("%s lacks %s", fw.name(), strings.Join(missing, "; ")))
		}
		if len(excess) > 0 {
			reasons = append(reasons, "no longer wanted: "+strings.Join(excess, "; "))
		}
		return Result{
			State: Differs, Reason: strings.Join(reasons, "; "), Prior: priorJSON(firewallPrior{fw.name(), missing}),
		}, nil
	}
	return Result{State: OK, Reason: "no firewall is active"}, nil
}

// rules returns the rules of the step where its interface is now.
func (f *Firewall) rules(ctx context.Context, env *Env, fw firewaller) ([]string, error) {
	place, err := fw.place(ctx, env, f.Interface)
	if err != nil {
		return nil, fmt.Errorf("zone of interface %q: %w", f.Interface, err)
	}
	return fw.wanted(f, place), nil
}

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
		if fw.name() != p.Manager {
			continue
		}
		if err := fw.add(ctx, env, p.Rules); err != nil {
			return Result{}, fmt.Errorf("open the firewall: %w", err)
		}
		return f.close(ctx, env, fw, Result{State: Changed, Reason: p.Manager + " opened", Prior: res.Prior})
	}
	return res, nil
}

// excess returns the rules that earlier runs of this step added and that no step wants
// any more, such as those of a removed host.
func (f *Firewall) excess(env *Env, fw firewaller, wanted []string) []string {
	var p firewallPrior
	if json.Unmarshal(env.Prior, &p) != nil || p.Manager != fw.name() {
		return nil
	}
	return slices.DeleteFunc(p.Rules, func(r string) bool {
		return slices.Contains(wanted, r) ||
			keptHas(env, func(o *Firewall) bool { return o != f && o.wants(fw.name(), r) })
	})
}

// close removes the excess and adds Rest to the result.
func (f *Firewall) close(ctx context.Context, env *Env, fw firewaller, res Result) (Result, error) {
	wanted, err := f.rules(ctx, env, fw)
	if err != nil {
		return Result{}, err
	}
	excess := f.excess(env, fw, wanted)
	if len(excess) == 0 {
		return res, nil
	}
	if err := fw.remove(ctx, env, excess); err != nil {
		return Result{}, fmt.Errorf("close the firewall: %w", err)
	}
	var p firewallPrior
	raw, err := f.MergePrior(env.Prior, res.Prior)
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	p.Rules = slices.DeleteFunc(p.Rules, func(r string) bool { return slices.Contains(excess, r) })
	res.Rest = priorJSON(p)
	return res, err
}

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
		return fw.remove(ctx, env, slices.DeleteFunc(p.Rules, func(r string) bool {
			return keptHas(env, func(o *Firewall) bool { return o.wants(p.Manager, r) })
		}))
	}
	return nil
}

func (f *Firewall) MergePrior(first, later json.RawMessage) (json.RawMessage, error) {
	var a, b firewallPrior
	if err := unmarshalBoth(first, later, &a, &b); err != nil {
		return nil, err
	}
	if a.Manager != b.Manager {
		// The host uses another firewall now; the former one took its rules along.
		return later, nil
	}
	a.Rules = union(a.Rules, b.Rules)
	return priorJSON(a), nil
}
