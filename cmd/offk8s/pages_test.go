package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// repository is the root of this repository, as seen from this package.
const repository = "../.."

// page is a document for users, in Markdown.
type page struct {
	name   string // relative to the root of the repository: "docs/zh-CN/serve.md"
	text   string
	blocks []block
}

// block is a code block. One without a language, and any that is indented, has commands
// or the lines of a cluster.yaml or pack.yaml. Other text is fenced and has a language.
type block struct {
	line  int // of its first line in the page, from 1
	lang  string
	lines []string // without their common indentation
}

// command is one command of a block. If a block has lines that begin with "$ ", these are
// its commands, and the lines below each are what it prints.
type command struct {
	line   int
	text   string
	output []string
}

// generated are written by TestReferencePages.
var generated = map[string]bool{
	"docs/commands.md": true, "docs/cluster-yaml.md": true, "docs/pack-yaml.md": true, "docs/output.md": true,
	"docs/zh-CN/commands.md": true, "docs/zh-CN/cluster-yaml.md": true, "docs/zh-CN/pack-yaml.md": true, "docs/zh-CN/output.md": true,
}

// readPages returns the pages that people wrote, in both languages.
func readPages(t *testing.T) []page {
	t.Helper()
	var pages []page
	for _, pattern := range []string{"README*.md", "docs/*.md", "docs/zh-CN/*.md"} {
		files, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name, err := filepath.Rel(repository, file)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !generated[name] {
				pages = append(pages, page{name, string(b), blocksIn(string(b))})
			}
		}
	}
	if len(pages) < 20 {
		t.Fatalf("only %d pages were found", len(pages))
	}
	return pages
}

// blocksIn returns the code blocks of a text in Markdown.
func blocksIn(text string) []block {
	var blocks []block
	var b *block
	fenced := false
	for i, line := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && !fenced:
			if b != nil {
				blocks = append(blocks, *b)
			}
			fenced, b = true, &block{line: i + 2, lang: fence}
		case isFence:
			fenced = false
			blocks, b = append(blocks, *b), nil
		case fenced:
			b.lines = append(b.lines, line)
		case strings.HasPrefix(line, "    "):
			if b == nil {
				b = &block{line: i + 1}
			}
			b.lines = append(b.lines, line)
		case b != nil && strings.TrimSpace(line) == "":
			b.lines = append(b.lines, "") // a block may go on after it
		case b != nil:
			blocks, b = append(blocks, *b), nil
		}
	}
	if b != nil {
		blocks = append(blocks, *b)
	}
	for i := range blocks {
		blocks[i].dedent()
	}
	return blocks
}

// dedent removes the common indentation, and empty lines at the end.
func (b *block) dedent() {
	for len(b.lines) > 0 && strings.TrimSpace(b.lines[len(b.lines)-1]) == "" {
		b.lines = b.lines[:len(b.lines)-1]
	}
	least := 1 << 10
	for _, line := range b.lines {
		if strings.TrimSpace(line) != "" {
			least = min(least, len(line)-len(strings.TrimLeft(line, " ")))
		}
	}
	for i, line := range b.lines {
		b.lines[i] = line[min(least, len(line)):]
	}
}

var topKey = regexp.MustCompile(`^[A-Za-z]+:( |$)`)

func (b block) isYAML() bool {
	return b.lang == "yaml" || b.lang == "" && topKey.MatchString(b.lines[0])
}

// commands returns the commands of a block, without comments.
func (b block) commands() []command {
	if b.lang != "" || b.isYAML() {
		return nil
	}
	prompts := slices.ContainsFunc(b.lines, func(s string) bool { return strings.HasPrefix(s, "$ ") })
	var out []command
	goesOn := false
	for i, line := range b.lines {
		text, isCommand := strings.CutPrefix(line, "$ ")
		if prompts && !isCommand && !goesOn {
			if len(out) > 0 {
				out[len(out)-1].output = append(out[len(out)-1].output, line)
			}
			continue
		}
		text = strings.TrimSpace(comment.ReplaceAllString(text, ""))
		if goesOn {
			out[len(out)-1].text += " " + strings.TrimSuffix(text, "\\")
		} else if text != "" {
			out = append(out, command{line: b.line + i, text: strings.TrimSuffix(text, "\\")})
		}
		goesOn = strings.HasSuffix(text, "\\")
	}
	for i := range out {
		out[i].text = strings.Join(strings.Fields(out[i].text), " ")
	}
	return out
}

// comment is one at the end of a line, or a line of its own.
var comment = regexp.MustCompile(`(^|\s)#.*$`)

// Every command line of the pages has commands, flags, arguments and values that the
// program takes; so have the examples in the help of the commands.
func TestCommandsInPagesParse(t *testing.T) {
	parsed := 0
	check := func(where, line string) {
		for _, words := range offk8sIn(line) {
			parsed++
			if err := parses(words); err != nil {
				t.Errorf("%s: %s: %v", where, line, err)
			}
		}
	}
	for _, p := range readPages(t) {
		for _, b := range p.blocks {
			for _, c := range b.commands() {
				check(fmt.Sprintf("%s:%d", p.name, c.line), c.text)
			}
		}
		for _, m := range inlineCode.FindAllStringSubmatch(p.text, -1) {
			for _, words := range offk8sIn(m[1]) { // often without arguments, and with "…"
				if _, err := parseFlags(slices.DeleteFunc(words, func(s string) bool { return s == "…" })); err != nil {
					t.Errorf("%s: %s: %v", p.name, m[1], err)
				}
			}
		}
	}
	reference, err := os.ReadFile(filepath.Join(repository, "docs/commands.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(reference), "#### Examples")[1:] {
		for _, c := range blocksIn(part)[0].commands() {
			check("docs/commands.md: example", c.text)
		}
	}
	if parsed < 100 {
		t.Errorf("only %d commands were found", parsed)
	}
	for line, want := range map[string]string{
		"offk8s pack --version 1.36 extra":             "unexpected argument",
		"offk8s pack --versoin 1.36":                   "unknown flag",
		"offk8s pack --version 1.36 --os rocky9":       `--os: "rocky9" is not one of`,
		"offk8s pack --version 1.15":                   `--version: "1.15" is not one of`,
		"offk8s install --wait soon":                   "want a duration",
		"offk8s init cluster --topology huge":          `--topology: "huge" is not one of`,
		"cat x | offk8s verify --parallel many":        "unknown flag",
		"make build && offk8s config schema something": "want cluster or pack",
	} {
		var got []string
		for _, words := range offk8sIn(line) {
			got = append(got, fmt.Sprint(parses(words)))
		}
		if !strings.Contains(strings.Join(got, "; "), want) {
			t.Errorf("%s: found %q, want %q", line, got, want)
		}
	}
}

// shellWord matches a word or an operator of a shell.
var shellWord = regexp.MustCompile(`'[^']*'|"[^"]*"|&&|[|;>]|[^\s|;>&'"]+`)

// offk8sIn returns the words after offk8s of each call in a line for a shell.
func offk8sIn(line string) [][]string {
	var out [][]string
	var words []string
	end := func() {
		for len(words) > 0 && settings.MatchString(words[0]+" ") || len(words) > 0 && words[0] == "sudo" {
			words = words[1:]
		}
		if len(words) > 1 && words[0] == "offk8s" {
			out = append(out, words[1:])
		}
		words = nil
	}
	skip := false
	for _, w := range shellWord.FindAllString(line, -1) {
		switch {
		case w == "|" || w == "&&" || w == ";":
			end()
		case w == ">":
			skip = true
		case skip || w == "…":
			skip = false
		default:
			words = append(words, strings.Trim(w, `'"`))
		}
	}
	end()
	return out
}

// parses returns the error of the program about the words of a command line.
func parses(words []string) error {
	cmd, err := parseFlags(words)
	if err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// parseFlags returns the command in words, and an error about flags: those of the program,
// and one for values that the shell would not complete.
func parseFlags(words []string) (*cobra.Command, error) {
	root := newApp(strings.NewReader(""), io.Discard, io.Discard).command()
	root.InitDefaultHelpCmd()
	cmd, rest, err := root.Find(words)
	if err != nil {
		return cmd, err
	}
	if err := cmd.ParseFlags(rest); errors.Is(err, pflag.ErrHelp) {
		return cmd, nil
	} else if err != nil {
		return cmd, cmd.FlagErrorFunc()(cmd, err)
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		values, ok := completions[f.Name]
		if !ok || free[f.Name] || f.Value.Type() == "bool" || err != nil {
			return
		}
		known, ok := knownValues[f.Name]
		if !ok {
			known = values(cmd)
			knownValues[f.Name] = known
		}
		for v := range strings.SplitSeq(strings.Trim(f.Value.String(), "[]"), ",") {
			isKnown := slices.ContainsFunc(known, func(k string) bool {
				name, _, _ := strings.Cut(k, "\t")
				return v == name || f.Name == "version" && strings.HasPrefix(v, name+".")
			})
			if !isKnown && !placeholder.MatchString(v) {
				err = fmt.Errorf("--%s: %q is not one of %q", f.Name, v, known)
			}
		}
	})
	return cmd, err
}

// placeholder matches what stands for a value, such as NAME.
var placeholder = regexp.MustCompile(`^[A-Z]+$`)

// knownValues has the completions by the name of their flag: to read the catalog takes a while.
var knownValues = map[string][]string{}

// free are flags whose completions are names of hosts, or examples.
var free = map[string]bool{"host": true, "from": true, "split": true}

// englishOnly are the pages without a twin in Chinese: those for contributors, and a table
// of tests.
var englishOnly = []string{"docs/extending.md", "docs/project-layout.md", "docs/threats.md"}

// Every page for users is there in Chinese, with the same commands in the same order, and
// each twin has links to the other one.
func TestLanguagesHaveTheSameCommands(t *testing.T) {
	pages := map[string]page{}
	for _, p := range readPages(t) {
		pages[p.name] = p
	}
	for name, p := range pages {
		if english := strings.Replace(name, "zh-CN/", "", 1); english != name && pages[english].name == "" {
			t.Errorf("%s has no page in English", name)
		}
		twin := chineseTwin(name)
		if twin == "" || slices.Contains(englishOnly, name) {
			continue
		}
		chinese, ok := pages[twin]
		if !ok {
			t.Errorf("%s has no page in Chinese: write %s", name, twin)
			continue
		}
		if diff := cmp.Diff(allCommands(p), allCommands(chinese)); diff != "" {
			t.Errorf("commands of %s (-) and %s (+):\n%s", name, twin, diff)
		}
		if a, b := shapeOf(p), shapeOf(chinese); filepath.Dir(name) == "docs" && a != b {
			t.Errorf("%s has %s, and %s has %s", name, a, twin, b)
		}
		for _, pair := range [][2]page{{p, chinese}, {chinese, p}} {
			if !slices.Contains(linksOf(pair[0]), pair[1].name) {
				t.Errorf("%s has no link to %s", pair[0].name, pair[1].name)
			}
		}
	}
	for _, name := range englishOnly {
		if _, ok := pages[name]; !ok {
			t.Errorf("%s is not there", name)
		}
	}
}

// shapeOf counts the headings and the rows of tables in a page.
func shapeOf(p page) string {
	return fmt.Sprintf("%d headings and %d rows of tables", strings.Count(p.text, "\n#"), strings.Count(p.text, "\n|"))
}

// A page in Chinese leads to pages in Chinese, except to its own twin.
func TestLinksStayInChinese(t *testing.T) {
	pages := readPages(t)
	for _, p := range pages {
		if !strings.Contains(p.name, "zh-CN") {
			continue
		}
		for _, target := range linksOf(p) {
			twin := chineseTwin(target)
			isPage := slices.ContainsFunc(pages, func(q page) bool { return q.name == twin })
			if isPage && twin != p.name {
				t.Errorf("%s leads to %s: want %s", p.name, target, twin)
			}
		}
	}
}

// chineseTwin returns the name of a page in Chinese for one in English, "" for others.
func chineseTwin(name string) string {
	dir, file := filepath.Split(name)
	switch {
	case dir == "docs/":
		return "docs/zh-CN/" + file
	case name == "README.md":
		return "README.zh-CN.md"
	}
	return ""
}

var linkTarget = regexp.MustCompile(`\]\(([^)#\s]+)`)

// linksOf returns the files that a page leads to, relative to the root of the repository.
func linksOf(p page) (files []string) {
	for _, m := range linkTarget.FindAllStringSubmatch(p.text, -1) {
		files = append(files, filepath.Join(filepath.Dir(p.name), m[1]))
	}
	return files
}

func allCommands(p page) (lines []string) {
	for _, b := range p.blocks {
		for _, c := range b.commands() {
			lines = append(lines, c.text)
		}
	}
	return lines
}
