package main

import (
	"io"
	"regexp"
	"strings"
	"testing"
)

// ourWords are commands and flags of offk8s in a hint.
var ourWords = regexp.MustCompile(`offk8s [a-z]+(?: (?:export|import|show))?|--[a-z-]+`)

// The hints for words of other tools name commands and flags that there are, and no flag has
// a hint in vain.
func TestOtherTools(t *testing.T) {
	root := newApp(nil, io.Discard, io.Discard).command()
	var hints []string
	for name, hint := range otherNames {
		hints = append(hints, hint)
		if cmd, _, err := root.Find(strings.Fields(name)); err == nil && cmd.CommandPath() == "offk8s "+name {
			t.Errorf("%q is a command of offk8s", name)
		}
	}
	for _, o := range otherFlags {
		if len(o.ours) == 0 && o.said == "" || o.has != "" && !anyHas(root, o.has) {
			t.Errorf("%q: no hint, or for commands with a flag that there is not", o.names)
		}
		hints = append(hints, o.said)
		for _, f := range o.ours {
			hints = append(hints, "--"+f)
		}
	}
	seen := 0
	for _, hint := range hints {
		for _, code := range ourWords.FindAllString(hint, -1) {
			seen++
			if code == "offk8s uses" || code == "offk8s has" || code == "offk8s cannot" || code == "offk8s itself" {
				continue
			}
			for _, problem := range checkCode(root, code) {
				t.Errorf("%s: %s: %s", hint, code, problem)
			}
		}
	}
	if seen < 80 {
		t.Errorf("only %d words of offk8s were found", seen)
	}
}

// A flag of another tool leads to the one of offk8s that the command has.
func TestOtherFlagHint(t *testing.T) {
	root := newApp(nil, io.Discard, io.Discard).command()
	for _, tt := range []struct{ command, flag, want string }{
		{"install", "tags", noTags},
		{"install", "limit", "install works on all hosts"},
		{"reset", "limit", "did you mean --host?"},
		{"drill", "tags", ""},
		{"install", "i", "did you mean --file?"},
		{"init cluster", "inventory", "did you mean --hosts?"},
		{"install", "pod-network-cidr", "network.podCIDR"},
		{"install", "kubernetes-version", "the bundle on the mirror"},
		{"pack", "kubernetes-version", "did you mean --version?"},
		{"push", "dest-tls-verify", "did you mean --insecure-plain-http or --insecure-allow-unsigned?"},
		{"install", "insecure-skip-tls-verify", pinMirror},
		{"logs", "insecure", "did you mean --ssh-insecure-host-key?"},
		{"push", "cert-dir", "did you mean --ca?"},
		{"pack", "nogpgcheck", vendorKeys},
		{"pack", "p", "did you mean --arch?"},
		{"serve", "p", "did you mean --listen?"},
		{"reset", "y", "did you mean --yes?"},
		{"install", "y", "did you mean --yes?"},
		{"verify", "y", "leave it out"},
		{"logs", "tail", "did you mean --lines?"},
		{"logs", "u", "offk8s logs HOST UNIT"},
		{"install", "u", remoteUsers},
		{"versions", "enablerepo", ""},
	} {
		cmd, _, err := root.Find(strings.Fields(tt.command))
		if err != nil {
			t.Fatal(err)
		}
		got := otherFlagHint(tt.flag, cmd.Flags())
		if !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s --%s: hint %q, want %q", tt.command, tt.flag, got, tt.want)
		}
	}
}
