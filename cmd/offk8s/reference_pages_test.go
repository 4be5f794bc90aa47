package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// writeReleaseDocs writes what a release has beside the program: man pages and completions.
func writeReleaseDocs(dir string, root *cobra.Command) error {
	man, shells := filepath.Join(dir, "man"), filepath.Join(dir, "completions")
	for _, dir := range []string{man, shells} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	// A date would make each build differ.
	header := &doc.GenManHeader{Section: "1", Source: "offk8s", Manual: "offk8s", Date: &time.Time{}}
	if err := doc.GenManTree(reference(root), header, man); err != nil {
		return err
	}
	for file, write := range map[string]func(string) error{
		"offk8s.bash": func(f string) error { return root.GenBashCompletionFileV2(f, true) },
		"_offk8s":     root.GenZshCompletionFile,
		"offk8s.fish": func(f string) error { return root.GenFishCompletionFile(f, true) },
	} {
		if err := write(filepath.Join(shells, file)); err != nil {
			return err
		}
	}
	return nil
}

// reference prepares the command tree for pages that must not depend on the build.
func reference(root *cobra.Command) *cobra.Command {
	root.DisableAutoGenTag = true
	return root
}

// writeCommands writes one page in Markdown with all commands.
func writeCommands(w io.Writer, root *cobra.Command) error {
	fmt.Fprint(w, "# Commands\n\n<!-- Written by make golden from the commands' own help. -->\n\n[中文](zh-CN/commands.md)\n\n")
	fmt.Fprint(w, "Every flag can be set as `OFFK8S_<FLAG>` in the environment.\n")
	return eachCommand(reference(root), func(cmd *cobra.Command) error {
		var b bytes.Buffer
		link := func(file string) string { return "#" + strings.ReplaceAll(strings.TrimSuffix(file, ".md"), "_", "-") }
		if err := doc.GenMarkdownCustom(cmd, &b, link); err != nil {
			return err
		}
		page, _, _ := strings.Cut(b.String(), "### SEE ALSO")
		// The global flags are those of offk8s itself.
		page, _, _ = strings.Cut(page, "### Options inherited from parent commands")
		_, err := fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(listsAsCode(strings.ReplaceAll(page, "\n### ", "\n#### "))))
		return err
	})
}

// listsAsCode indents lines of the help text that are lists, so that Markdown does not
// join them.
func listsAsCode(page string) string {
	var b strings.Builder
	fenced := false
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if !fenced && strings.HasPrefix(line, "  ") {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
	return b.String()
}

func eachCommand(cmd *cobra.Command, do func(*cobra.Command) error) error {
	if err := do(cmd); err != nil {
		return err
	}
	for _, sub := range cmd.Commands() {
		if !sub.IsAvailableCommand() || sub.Name() == "completion" || sub.Name() == "help" {
			continue
		}
		if err := eachCommand(sub, do); err != nil {
			return err
		}
	}
	return nil
}
