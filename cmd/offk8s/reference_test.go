package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/test/testenv"
)

var (
	update      = flag.Bool("update", false, "rewrite the reference pages in docs")
	releaseDocs = flag.String("release-docs", "", "write the man pages and completions of a release into this directory")
)

// The reference pages are those of the commands and the types.
func TestReferencePages(t *testing.T) {
	a := newApp(strings.NewReader(""), io.Discard, io.Discard)
	pages := map[string]func(io.Writer) error{
		"commands.md":       func(w io.Writer) error { return writeCommands(w, a.command()) },
		"zh-CN/commands.md": func(w io.Writer) error { return writeCommandsChinese(w, a.command()) },
	}
	for dir, l := range map[string]language{"": english, "zh-CN/": chinese} {
		pages[dir+"output.md"] = func(w io.Writer) error { return writeOutputPage(w, l) }
		for _, d := range documents {
			pages[dir+d.name+"-yaml.md"] = func(w io.Writer) error { return writeFieldsPage(w, d, l) }
		}
	}
	for name, write := range pages {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("../../docs", name)
		if *update {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, b.Bytes()) {
			t.Errorf("docs/%s differs from the commands and types of today: make golden writes it", name)
		}
	}
}

// Man pages and completions do not depend on time and place.
func TestReleaseDocs(t *testing.T) {
	var trees [2]string
	for i := range trees {
		dir := t.TempDir()
		a := newApp(strings.NewReader(""), io.Discard, io.Discard)
		if err := writeReleaseDocs(dir, a.command()); err != nil {
			t.Fatal(err)
		}
		trees[i] = dir
	}
	if *releaseDocs != "" {
		a := newApp(strings.NewReader(""), io.Discard, io.Discard)
		if err := writeReleaseDocs(*releaseDocs, a.command()); err != nil {
			t.Fatal(err)
		}
	}
	testenv.NeedTool(t, "diff")
	if out, err := exec.Command("diff", "-r", trees[0], trees[1]).CombinedOutput(); err != nil {
		t.Errorf("two runs differ: %s", out)
	}
	err := eachCommand(newApp(strings.NewReader(""), io.Discard, io.Discard).command(), func(cmd *cobra.Command) error {
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		page, err := os.ReadFile(filepath.Join(trees[0], "man", name))
		if err != nil || !bytes.Contains(page, []byte(strings.ReplaceAll(cmd.Name(), "-", `\-`))) {
			t.Errorf("man page of %s: %v, %.100s", cmd.CommandPath(), err, page)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, name := range []string{"offk8s.bash", "_offk8s", "offk8s.fish"} {
		if st, err := os.Stat(filepath.Join(trees[0], "completions", name)); err != nil || st.Size() == 0 {
			t.Errorf("completion: %v", err)
		}
	}
}
