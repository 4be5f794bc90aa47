package installer

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
)

// grouped collects lines of text by the hosts that they apply to, so that a line that is
// equal on many hosts is written once.
type grouped struct {
	hosts []string            // all that may have a line, in order
	lines []string            // distinct, in the order of their first host
	on    map[string][]string // the hosts of a line
}

func newGrouped(hosts []string) *grouped { return &grouped{hosts: hosts, on: map[string][]string{}} }

// add adds a line of a host, one host after the other. A line that the host has already
// is not added again. Lines that differ only by the name of their host are equal.
func (g *grouped) add(host, line string) {
	line = replaceName(line, host, ownName)
	on := g.on[line]
	if on == nil {
		g.lines = append(g.lines, line)
	}
	if len(on) == 0 || on[len(on)-1] != host {
		g.on[line] = append(on, host)
	}
}

// ownName stands for the name of the host in a line of it.
const ownName = "\x00"

// replaceName replaces name where it is a word of s, not a part of a name or a path.
func replaceName(s, name, by string) string {
	part := func(r rune) bool { return strings.ContainsRune("-._/", r) || unicode.IsLetter(r) || unicode.IsDigit(r) }
	var out strings.Builder
	for s != "" {
		word := strings.IndexFunc(s, part)
		if word < 0 {
			break
		}
		out.WriteString(s[:word])
		s = s[word:]
		end := strings.IndexFunc(s, func(r rune) bool { return !part(r) })
		if end < 0 {
			end = len(s)
		}
		if s[:end] == name {
			out.WriteString(by)
		} else {
			out.WriteString(s[:end])
		}
		s = s[end:]
	}
	return out.String() + s
}

// write writes the lines in groups of the same hosts, below a heading that names
// them. It keeps the order of the lines within a group.
func (g *grouped) write(w io.Writer, indent string) {
	var heads []string
	groups := map[string][]string{}
	for _, line := range g.lines {
		on := g.on[line]
		head, name := hostList(on, g.hosts), "HOST"
		if len(on) == 1 {
			name = on[0]
		}
		line = strings.ReplaceAll(line, ownName, name)
		if groups[head] == nil {
			heads = append(heads, head)
		}
		groups[head] = append(groups[head], line)
	}
	for _, head := range heads {
		fmt.Fprintf(w, "%s%s\n", indent, head)
		for _, line := range groups[head] {
			fmt.Fprintf(w, "%s  %s\n", indent, strings.ReplaceAll(line, "\n", "\n"+indent+"    "))
		}
	}
}

// maxNamed is the number of hosts that hostList names one by one.
const maxNamed = 8

// hostList names some of all hosts: "cp-1", "cp-1, cp-2 (2)", "all hosts (6)",
// "all hosts but cp-1 (99)".
func hostList(some, all []string) string {
	in := map[string]bool{}
	for _, h := range some {
		in[h] = true
	}
	others := slices.DeleteFunc(slices.Clone(all), func(h string) bool { return in[h] })
	switch {
	case len(some) == 1:
		return some[0]
	case len(others) == 0:
		return fmt.Sprintf("all hosts (%d)", len(some))
	case len(some) > maxNamed && len(others) <= maxNamed:
		return fmt.Sprintf("all hosts but %s (%d)", strings.Join(others, ", "), len(some))
	default:
		return fmt.Sprintf("%s (%d)", strings.Join(some, ", "), len(some))
	}
}

// writeHosts writes the steps of a stage. Steps that read the same on several hosts
// are written once; all are the hosts of the plan.
func writeHosts(w io.Writer, work stage.Work, hosts []PlanHost, all []string) {
	g := newGrouped(all)
	for _, h := range hosts {
		for _, x := range h.Before {
			g.add(h.Host, describeGate("before", x))
		}
		for _, it := range h.Items {
			g.add(h.Host, describe(it))
		}
		switch h := h.Host; work {
		case stage.Undo:
			g.add(h, "undo everything that offk8s changed")
		case stage.Prune:
			g.add(h, "undo the steps of earlier plans that this one does not have")
		}
		for _, x := range h.After {
			g.add(h.Host, describeGate("after", x))
		}
	}
	g.write(w, "  ")
}

func describe(it step.Item) string {
	if it.Why == "" {
		return it.Step.Describe()
	}
	return it.Step.Describe() + "\n" + it.Why
}

func describeGate(when string, g stage.Gate) string {
	return fmt.Sprintf("gate %s, seen from %s: %s", when, strings.Join(g.On, " or "), g.Item.Step.Describe())
}

// writeSummary writes the size of the plan and its hosts by their roles; those that have
// the same are on one line.
func (p *Plan) writeSummary(w io.Writer) {
	hosts := p.hosts()
	fmt.Fprintf(w, "cluster %s, Kubernetes %s, bundle %s\n", p.Cluster, p.Kubernetes, p.Bundle)
	fmt.Fprintf(w, "hosts: %d, stages: %d, steps: %d\n", len(hosts), len(p.Stages), p.Steps())
	var kinds []string
	having := map[string][]string{}
	for _, h := range hosts {
		roles := p.roles(h)
		if having[roles] == nil {
			kinds = append(kinds, roles)
		}
		having[roles] = append(having[roles], h)
	}
	for _, roles := range kinds {
		fmt.Fprintf(w, "  %s: %s\n", hostList(having[roles], hosts), roles)
	}
}

// roles names the roles of a host, sorted; a host that is not in cluster.yaml is leaving.
func (p *Plan) roles(host string) string {
	i := slices.IndexFunc(p.members, func(m facts.Member) bool { return m.Name == host })
	if i < 0 {
		return "leaves the cluster"
	}
	return strings.Join(slices.Sorted(slices.Values(p.members[i].Roles)), ", ")
}

// hosts returns the hosts of the plan in the order of their first stage.
func (p *Plan) hosts() []string {
	var out []string
	seen := map[string]bool{}
	for _, st := range p.Stages {
		for _, h := range st.Hosts {
			if !seen[h.Host] {
				out = append(out, h.Host)
			}
			seen[h.Host] = true
		}
	}
	return out
}

// Only returns the part of the plan that concerns one host.
func (p *Plan) Only(host string) *Plan {
	out := *p
	out.Stages = nil
	for _, st := range p.Stages {
		st.Hosts = slices.DeleteFunc(slices.Clone(st.Hosts), func(h PlanHost) bool { return h.Host != host })
		if len(st.Hosts) > 0 {
			out.Stages = append(out.Stages, st)
		}
	}
	return &out
}
