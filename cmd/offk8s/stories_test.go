package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagElsewhere are the flags that no story uses, each with the file that shows its effect
// instead, and a text in it: most need hosts with root, or an address beside loopback.
var flagElsewhere = map[string]struct{ file, text string }{
	"offk8s install --allow-downgrade":        {"installer/agent/trust_test.go", "AllowDowngrade = true"},
	"offk8s install --forget":                 {"installer/stage/leave_test.go", "func TestForget("},
	"offk8s install --passphrase-file":        {"test/e2e/install_test.go", `"--passphrase-file", "/root/ticket-passphrase"`},
	"offk8s install --wait":                   {"installer/alone_test.go", "Wait: time.Hour"},
	"offk8s serve --install-unit":             {"cmd/offk8s/serve_test.go", "installUnit("},
	"offk8s serve --metrics":                  {"mirror/server_test.go", "Admin: admin"},
	"offk8s serve --client-ca":                {"cmd/offk8s/serve_tls_test.go", "func TestClientCA("},
	"offk8s serve --insecure-from-plain-http": {"bundle/registry/guard_test.go", "func TestPlainHTTP("},
	"offk8s push --insecure-plain-http":       {"bundle/registry/guard_test.go", "func TestPlainHTTP("},
	"offk8s pack --allow-private-upstreams":   {"bundle/fetch/private_test.go", "AllowPrivate: true"},
	"offk8s lock --allow-private-upstreams":   {"bundle/fetch/private_test.go", "AllowPrivate: true"},
}

// used has the commands and "command --flag" that stories use. A usage error shows no
// effect of a flag, so that its flags do not count.
type used map[string]bool

// Every command that a user sees, and every flag of it, has a story in testdata/script.
func TestEveryCommandHasAStory(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	seen := used{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		seen.script(string(txtar.Parse(b).Comment))
	}
	json := map[string]bool{}
	for _, o := range outputs {
		if seenElsewhere[o.name()] == "" {
			json["offk8s "+o.command] = true
		}
	}
	known := map[string]bool{}
	for _, cmd := range visible(newApp(nil, io.Discard, io.Discard).command()) {
		path := cmd.CommandPath()
		if cmd.Runnable() && !seen[path] {
			t.Errorf("%s: no story uses it", path)
		}
		if json[path] && !seen[path+" --format json"] {
			t.Errorf("%s: no story uses it with --format json", path)
		}
		eachFlag(cmd, func(f *pflag.Flag) {
			use := path + " --" + f.Name
			known[use] = true
			if e, ok := flagElsewhere[use]; seen[use] == ok {
				t.Errorf("%s: used in a story: %t, exception: %q", use, seen[use], e)
			}
		})
	}
	for use, e := range flagElsewhere {
		b, err := os.ReadFile(filepath.Join(repository, e.file))
		if err != nil || !known[use] || e.text == "" || !bytes.Contains(b, []byte(e.text)) {
			t.Errorf("exception %q: want a flag, and %q in %s: %v", use, e.text, e.file, err)
		}
	}
}

// visible returns cmd and the commands below it that users see.
func visible(cmd *cobra.Command) []*cobra.Command {
	if cmd.Hidden || cmd.Name() == "help" {
		return nil
	}
	out := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		out = append(out, visible(c)...)
	}
	return out
}

func eachFlag(cmd *cobra.Command, do func(*pflag.Flag)) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" && f.Name != "version" {
			do(f)
		}
	})
}

var (
	scriptCondition = regexp.MustCompile(`^\[[^]]*\]\s*`)
	scriptWord      = regexp.MustCompile(`(?:'[^']*'|[^\s'])+`)
)

// script notes the uses in the commands of a script.
func (u used) script(text string) {
	env := map[string]string{"OFFK8S_CATALOG": "dir", "OFFK8S_SELF": "amd64=self"} // see TestScripts
	for _, line := range strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		line = strings.TrimSpace(line)
		for scriptCondition.MatchString(line) {
			line = scriptCondition.ReplaceAllString(line, "")
		}
		line = strings.TrimSpace(strings.TrimLeft(line, "!?"))
		if strings.HasPrefix(line, "#") {
			continue
		}
		words := scriptWord.FindAllString(line, -1)
		if len(words) > 1 && words[0] == "env" {
			for _, w := range words[1:] {
				name, value, _ := strings.Cut(w, "=")
				env[name] = value
			}
		}
		if args, code := scriptArguments(words); len(args) > 0 {
			u.command(args, code == "2", env)
		}
	}
}

// scriptArguments returns the arguments of offk8s in a line of a script, and the exit code
// that it wants, if the line says so.
func scriptArguments(words []string) (args []string, code string) {
	switch {
	case len(words) > 2 && words[0] == "exec" && words[1] == "offk8s":
		return words[2:], ""
	case len(words) > 2 && words[0] == "exit":
		return words[2:], words[1]
	case len(words) > 3 && words[0] == "alone":
		return words[3:], words[2]
	case len(words) > 2 && words[0] == "rate":
		return words[2:], ""
	case len(words) > 4 && words[0] == "kill-at":
		return words[4:], words[3]
	case len(words) > 0 && words[0] == "serve": // see scriptServe
		return append([]string{"serve", "--listen", "127.0.0.1:0", "--state", "state"}, words[1:]...), ""
	}
	return nil, ""
}

// command notes a call of offk8s.
func (u used) command(args []string, refused bool, env map[string]string) {
	cmd, rest, err := newApp(nil, io.Discard, io.Discard).command().Find(args)
	if err != nil || strings.HasPrefix(args[0], "__") {
		return
	}
	u[cmd.CommandPath()] = true
	if refused {
		return
	}
	note := func(f *pflag.Flag, value string) {
		if f == nil {
			return
		}
		for c := cmd; c != nil; c = c.Parent() { // a flag of a parent is used there
			if c.LocalFlags().Lookup(f.Name) == f {
				u[c.CommandPath()+" --"+f.Name] = true
			}
		}
		if f.Name == "format" {
			u[cmd.CommandPath()+" --format "+value] = true
		}
	}
	flags := cmd.Flags()
	flags.AddFlagSet(cmd.InheritedFlags())
	if i := slices.Index(rest, "--"); i >= 0 {
		rest = rest[:i]
	}
	for i, word := range rest {
		name, value, assigned := strings.Cut(word, "=")
		if !assigned && i+1 < len(rest) {
			value = rest[i+1]
		}
		switch {
		case strings.HasPrefix(word, "--"):
			note(flags.Lookup(name[2:]), value)
		case len(word) > 1 && word[0] == '-':
			note(flags.ShorthandLookup(word[1:2]), value)
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if value := env["OFFK8S_"+strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))]; value != "" {
			note(f, value)
		}
	})
}

// Each form of a call in a script is read.
func TestUsesInScripts(t *testing.T) {
	const script = `
# exec offk8s diff --content
exec offk8s verify --key a.pub --format json b.tar
! exec offk8s pack -f p.yaml
[linux] [!exec:cmp] exit 4 inspect --kind=image b.tar --format=yaml
exit 2 push --ca x b.tar registry.example/x
kill-at INT etcd 130 merge -o \
  b.tar
serve --watch b.tar
env OFFK8S_PARALLEL=2 OFFK8S_FORCE=
exec offk8s doctor -- --state
exec offk8s -v keys generate 'a --until' -o 'x y'
exec offk8s __complete reset --yes
exec sh -c 'offk8s why --key k'
rate 10 sbom --spdx b.tar
`
	seen := used{}
	seen.script(script)
	var got []string
	for use := range seen {
		got = append(got, strings.TrimPrefix(use, "offk8s "))
	}
	slices.Sort(got)
	want := []string{
		"--format", "--verbose", "doctor", "doctor --parallel", "doctor --self", "inspect", "inspect --format yaml", "inspect --kind", "keys generate", "keys generate --output",
		"merge", "merge --output", "pack", "pack --catalog", "pack --file", "pack --self", "push", "sbom", "sbom --spdx", "serve", "serve --listen", "serve --state", "serve --watch", "verify", "verify --format json", "verify --key",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %q\nwant %q", got, want)
	}
}
