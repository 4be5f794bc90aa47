package step

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// iptablesVariants are the programs that a host may have. Several can be in use at
// once, since container images bring their own.
var iptablesVariants = []string{
	"iptables", "ip6tables", "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy",
}

// kubernetesChains are the prefixes of the chains of kube-proxy, the kubelet and the
// CNI plugins. Those of the pod network are in Cleanup.Chains.
var kubernetesChains = []string{"KUBE-", "CNI-"}

// removeRules removes the chains of kube-proxy and the pod network from the packet
// filter, and the rules that jump to them. All other rules keep their place.
func (c *Cleanup) removeRules(ctx context.Context, env *Env) error {
	var errs []error
	for _, v := range iptablesVariants {
		out, err := env.Run.Run(ctx, Cmd{Argv: []string{v + "-save"}})
		if err != nil {
			continue // not installed, or no such tables in this kernel
		}
		script := c.removalScript(string(out.Stdout))
		if script == "" {
			continue
		}
		_, err = env.Run.Run(ctx, Cmd{Argv: []string{v + "-restore", "--noflush"}, Stdin: []byte(script)})
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", v, err))
		}
	}
	for _, family := range []string{"ip", "ip6"} {
		_, _ = env.Run.Run(ctx, Cmd{Argv: []string{"nft", "delete", "table", family, "kube-proxy"}})
	}
	return errors.Join(errs...)
}

// removalScript turns the output of iptables-save into input for
// iptables-restore --noflush that removes the matching chains and rules; "" if
// there are none.
func (c *Cleanup) removalScript(saved string) string {
	var b strings.Builder
	var table string
	var chains, rules []string
	flush := func() {
		if len(chains)+len(rules) == 0 {
			return
		}
		b.WriteString(table + "\n")
		for _, name := range chains {
			b.WriteString(":" + name + " - [0:0]\n") // declares the chain, which also empties it
		}
		for _, r := range rules {
			b.WriteString("-D " + r + "\n")
		}
		for _, name := range chains {
			b.WriteString("-X " + name + "\n")
		}
		b.WriteString("COMMIT\n")
		chains, rules = nil, nil
	}
	for line := range strings.Lines(saved) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "*"):
			table = line
		case line == "COMMIT":
			flush()
		case strings.HasPrefix(line, ":"):
			if name, _, _ := strings.Cut(line[1:], " "); c.matchesChain(name) {
				chains = append(chains, name)
			}
		case strings.HasPrefix(line, "-A "):
			if f := strings.Fields(line); !c.matchesChain(f[1]) && c.matchesRule(line, f) {
				rules = append(rules, line[len("-A "):])
			}
		}
	}
	return b.String()
}

// matchesChain reports whether kube-proxy, the kubelet, a CNI plugin or the pod
// network created the chain.
func (c *Cleanup) matchesChain(name string) bool {
	hasPrefix := func(p string) bool { return strings.HasPrefix(name, p) }
	return slices.ContainsFunc(kubernetesChains, hasPrefix) || slices.ContainsFunc(c.Chains, hasPrefix)
}

// matchesRule reports whether a rule of another chain jumps to a matching chain,
// has a comment of the pod network, or is about the pods' addresses, a set or an
// interface of the pod network.
func (c *Cleanup) matchesRule(line string, f []string) bool {
	for i := 2; i+1 < len(f); i++ {
		switch f[i] {
		case "-j", "-g":
			if c.matchesChain(f[i+1]) {
				return true
			}
		case "-s", "-d":
			if slices.Contains(ranges(c.PodCIDR), f[i+1]) {
				return true
			}
		case "-i", "-o":
			if slices.ContainsFunc(c.Interfaces, func(p string) bool { return matchesLink(p, f[i+1]) }) {
				return true
			}
		case "--match-set":
			if c.matchesSet(f[i+1]) {
				return true
			}
		}
	}
	return slices.ContainsFunc(c.RuleComments, func(p string) bool {
		return strings.Contains(line, `--comment "`+p)
	})
}
