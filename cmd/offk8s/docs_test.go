package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var (
	inlineCode  = regexp.MustCompile("`([^`\n]+)`")
	flagInProse = regexp.MustCompile(`^--[a-z][a-z-]*`)
	variable    = regexp.MustCompile(`OFFK8S_([A-Z_]+[A-Z])\b`)
	// settings are the variables that may stand before a command.
	settings = regexp.MustCompile(`^([A-Z_]+=\S* )+`)
)

// Commands and flags that the documents name must exist.
func TestDocumentsNameCommandsThatExist(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"README*.md", "docs/*.md", "docs/zh-CN/*.md"} {
		found, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	root := newApp(strings.NewReader(""), io.Discard, io.Discard).command()
	root.InitDefaultHelpCmd()
	seen := 0
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range codeIn(string(b)) {
			for _, problem := range checkCode(root, code) {
				t.Errorf("%s: %s: %s", filepath.Base(page), code, problem)
			}
			seen++
		}
	}
	if seen < 100 {
		t.Errorf("only %d pieces of code were found", seen)
	}
	for code, want := range map[string]string{
		"offk8s pakc --version 1.36":      "no command",
		"offk8s pack --versoin 1.36":      "no flag",
		"--no-such-flag":                  "no command has the flag",
		"offk8s keys list":                "no command list",
		"offk8s state backup":             "no command backup",
		"OFFK8S_CACHEDIR":                 "no flag is set by",
		"sudo offk8s state export --host": "no flag",
	} {
		if got := strings.Join(checkCode(root, code), "; "); !strings.Contains(got, want) {
			t.Errorf("%s: found %q, want %q", code, got, want)
		}
	}
}

// Help fits into a terminal of 100 columns.
func TestHelpIsNarrow(t *testing.T) {
	var out strings.Builder
	root := reference(newApp(strings.NewReader(""), &out, io.Discard).command())
	lines := 0
	err := eachCommand(root, func(cmd *cobra.Command) error {
		out.Reset()
		err := cmd.Help()
		for line := range strings.Lines(out.String()) {
			lines++
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > helpWidth {
				t.Errorf("%s --help: a line of %d columns:\n%s", cmd.CommandPath(), n, line)
			}
		}
		return err
	})
	if err != nil || lines < 500 {
		t.Errorf("%d lines of help were checked, %v", lines, err)
	}
}

// codeIn returns the inline code, and the lines of the code blocks, of a page in
// Markdown. A line that ends with a backslash goes on in the next one.
func codeIn(page string) []string {
	var out []string
	fenced := false
	for line := range strings.SplitSeq(strings.ReplaceAll(page, "\\\n", " "), "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			fenced = !fenced
		case fenced, strings.HasPrefix(line, "    "):
			code, _, _ := strings.Cut(trimmed, "#")
			out = append(out, strings.TrimSpace(code))
		default:
			for _, m := range inlineCode.FindAllStringSubmatch(line, -1) {
				out = append(out, m[1])
			}
		}
	}
	return out
}

// checkCode returns what is wrong with a piece of code of a document. Code that does
// not call offk8s, and is no flag of it, has no problems.
func checkCode(root *cobra.Command, code string) []string {
	for _, m := range variable.FindAllStringSubmatch(code, -1) {
		if name := strings.ToLower(strings.ReplaceAll(m[1], "_", "-")); name != "bundle" && !anyHas(root, name) {
			return []string{"no flag is set by " + m[0]}
		}
	}
	if flagInProse.MatchString(code) {
		name := strings.TrimPrefix(flagInProse.FindString(code), "--")
		if !anyHas(root, name) && !foreignFlags[name] {
			return []string{"no command has the flag --" + name}
		}
		return nil
	}
	code = settings.ReplaceAllString(strings.TrimPrefix(code, "sudo "), "")
	words := strings.Fields(code)
	if len(words) < 2 || words[0] != "offk8s" {
		return nil
	}
	var problems []string
	cmd := root
	for i, w := range words[1:] {
		switch {
		case strings.HasPrefix(w, "|"), strings.HasPrefix(w, ">"), strings.HasPrefix(w, "&"):
			return problems
		case strings.HasPrefix(w, "--"):
			name, _, _ := strings.Cut(strings.TrimRight(w[2:], ".,)"), "=")
			if !has(cmd, name) {
				problems = append(problems, "no flag --"+name)
			}
		case i == 0 || cmd.HasSubCommands():
			sub, _, err := cmd.Find([]string{w})
			if err == nil && sub != cmd {
				cmd = sub
				continue
			}
			takesArguments := cmd != root && cmd.Runnable() && (cmd.Args == nil || cmd.ValidateArgs([]string{w}) == nil || !cmd.HasSubCommands())
			if !takesArguments && !strings.HasPrefix(w, "-") && !strings.ContainsAny(w, "|…<[") {
				return append(problems, "no command "+w)
			}
		}
	}
	return problems
}

// foreignFlags are flags of other programs that documents name by themselves.
var foreignFlags = map[string]bool{"all": true, "new-ipset": true}

func has(cmd *cobra.Command, name string) bool {
	cmd.InitDefaultHelpFlag()
	return cmd.Flags().Lookup(name) != nil || cmd.InheritedFlags().Lookup(name) != nil || cmd.Root().Flags().Lookup(name) != nil ||
		cmd.Root().PersistentFlags().Lookup(name) != nil
}

func anyHas(cmd *cobra.Command, name string) bool {
	found := false
	cmd.Flags().VisitAll(func(f *pflag.Flag) { found = found || f.Name == name })
	if found || has(cmd, name) {
		return true
	}
	for _, sub := range cmd.Commands() {
		if anyHas(sub, name) {
			return true
		}
	}
	return false
}
