package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Every command that a user sees says what it does, with an example, and how it
// is called wrongly ends with status 2.
func TestEveryCommandHasHelp(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short help %q", cmd.CommandPath(), cmd.Short)
		}
		if cmd.HasParent() && cmd.Flags().HasAvailableFlags() && !cmd.HasSubCommands() && cmd.Example == "" {
			t.Errorf("%s has flags and no example", cmd.CommandPath())
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("%s --%s: usage %q", cmd.CommandPath(), f.Name, f.Usage)
			}
		})
		if cmd.HasParent() && cmd.Args == nil {
			t.Errorf("%s does not check its arguments", cmd.CommandPath())
		}
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(newApp(nil, &bytes.Buffer{}, &bytes.Buffer{}).command())
}

// What the examples show must be flags that there are.
func TestExamplesParse(t *testing.T) {
	root := newApp(nil, &bytes.Buffer{}, &bytes.Buffer{}).command()
	for todo := []*cobra.Command{root}; len(todo) > 0; todo = todo[1:] {
		cmd := todo[0]
		todo = append(todo, cmd.Commands()...)
		for _, line := range strings.Split(strings.ReplaceAll(cmd.Example, "\\\n", ""), "\n") {
			line = strings.TrimSpace(line)
			if line == "" {
				continue
			}
			line, _, _ = strings.Cut(line, "   ") // a remark
			line, _, _ = strings.Cut(line, " > ")
			words := strings.Fields(line)
			if words[0] != "offk8s" {
				t.Errorf("%s: example %q", cmd.CommandPath(), line)
				continue
			}
			found, rest, err := newApp(nil, &bytes.Buffer{}, &bytes.Buffer{}).command().Find(words[1:])
			if err == nil {
				err = found.ParseFlags(rest)
			}
			if err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), line, err)
			}
		}
	}
}

func TestSay(t *testing.T) {
	tests := []struct {
		name string
		app  app
		want string
	}{
		{"text", app{progress: "plain"}, "offk8s: warning: key \"a\"\n"},
		{"quiet", app{quiet: true}, ""},
		{"json", app{progress: "json"}, `{"event":"warning","text":"key \"a\""}` + "\n"},
	}
	for _, tt := range tests {
		var stderr bytes.Buffer
		tt.app.stderr = &stderr
		tt.app.warnf("key %q", "a")
		if stderr.String() != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, stderr.String(), tt.want)
		}
	}
}

func TestLogLevels(t *testing.T) {
	tests := []struct {
		name string
		app  app
		want []string
	}{
		{"warnings", app{}, []string{"offk8s: warning: x", "offk8s: error: x"}},
		{"quiet", app{quiet: true}, []string{"offk8s: error: x"}},
		{"-v", app{verbose: 1}, []string{"level=INFO", "level=WARN", "level=ERROR"}},
		{"-vv", app{verbose: 2}, []string{"level=DEBUG", "level=INFO", "level=WARN", "level=ERROR"}},
		{"json", app{logFormat: "json"}, []string{`"level":"WARN"`, `"level":"ERROR"`}},
		{"all of stderr is JSON", app{progress: "json"}, []string{`"level":"WARN"`, `"level":"ERROR"`}},
	}
	for _, tt := range tests {
		var stderr bytes.Buffer
		tt.app.stderr = &stderr
		l := tt.app.log()
		l.Debug("x")
		l.Info("x")
		l.Warn("x")
		l.Error("x")
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		if len(lines) != len(tt.want) {
			t.Errorf("%s: got\n%swant %v", tt.name, stderr.String(), tt.want)
			continue
		}
		for i, s := range tt.want {
			if !strings.Contains(lines[i], s) {
				t.Errorf("%s: line %q, want %s", tt.name, lines[i], s)
			}
		}
	}
}

func TestConsole(t *testing.T) {
	var out bytes.Buffer
	l := slog.New(newConsole(&out, slog.LevelWarn))
	l.Info("not shown")
	l.Warn("needs cgroup v1: boot with it")
	l.With("host", "cp-1").Warn("slow", "err", errors.New("no answer"))
	l.WithGroup("disk").Error("full", "time", "now")
	want := "offk8s: warning: needs cgroup v1: boot with it\n" +
		"offk8s: warning: slow host=cp-1 err=\"no answer\"\n" +
		"offk8s: error: full disk.time=now\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
