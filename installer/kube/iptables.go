package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
)

// saves are the variants of iptables a host may have; several can be in use at
// once, since images bring their own.
var saves = []string{
	"iptables", "ip6tables", "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy",
}

// removeRules takes the chains of kube-proxy, flannel and the CNI plugins out of
// the packet filter, and the rules that lead there; all other rules stay as and
// where they are.
func removeRules(ctx context.Context, env *step.Env, podCIDR string) error {
	var errs []error
	for _, v := range saves {
		out, err := env.Run.Run(ctx, step.Cmd{Argv: []string{v + "-save"}})
		if err != nil {
			continue // not installed, or no such tables in this kernel
		}
		script := removalScript(string(out.Stdout), podCIDR)
		if script == "" {
			continue
		}
		_, err = env.Run.Run(ctx, step.Cmd{Argv: []string{v + "-restore", "--noflush"}, Stdin: []byte(script)})
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", v, err))
		}
	}
	for _, family := range []string{"ip", "ip6"} {
		_, _ = env.Run.Run(ctx, step.Cmd{Argv: []string{"nft", "delete", "table", family, "kube-proxy"}})
	}
	return errors.Join(errs...)
}

// removalScript turns the output of iptables-save into input for
// iptables-restore --noflush that removes what is Kubernetes's own; "" when
// there is nothing.
func removalScript(saved, podCIDR string) string {
	var b strings.Builder
	var table string
	var chains, rules []string
	flush := func() {
		if len(chains)+len(rules) == 0 {
			return
		}
		b.WriteString(table + "\n")
		for _, c := range chains {
			b.WriteString(":" + c + " - [0:0]\n") // declares, which also empties it
		}
		for _, r := range rules {
			b.WriteString("-D " + r + "\n")
		}
		for _, c := range chains {
			b.WriteString("-X " + c + "\n")
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
			if c, _, _ := strings.Cut(line[1:], " "); ownChain(c) {
				chains = append(chains, c)
			}
		case strings.HasPrefix(line, "-A "):
			if f := strings.Fields(line); !ownChain(f[1]) && ownRule(line, f, podCIDR) {
				rules = append(rules, line[len("-A "):])
			}
		}
	}
	return b.String()
}

func ownChain(name string) bool {
	for _, p := range []string{"KUBE-", "FLANNEL-", "CNI-"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// ownRule finds rules in other chains that jump into ours, that flannel wrote,
// or that are about the pods' addresses.
func ownRule(line string, f []string, podCIDR string) bool {
	for i := 2; i+1 < len(f); i++ {
		switch f[i] {
		case "-j", "-g":
			if ownChain(f[i+1]) {
				return true
			}
		case "-s", "-d":
			if podCIDR != "" && f[i+1] == podCIDR {
				return true
			}
		}
	}
	return strings.Contains(line, `--comment "flanneld`)
}
