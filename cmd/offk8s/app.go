package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests/strict"
)

// app holds the streams and the global flags that all commands share. Only
// results go to stdout; everything else goes to stderr, in lower case and
// without a final period.
type app struct {
	stdin   io.Reader
	answers *bufio.Reader // of stdin, see confirm
	// asked, if set, replaces the terminal for secrets, for tests.
	asked          func(prompt string) ([]byte, error)
	stdout, stderr io.Writer

	format    string // text, json or yaml: form of the result
	progress  string // auto, tty, plain, json or none
	logFormat string // text or json
	verbose   int
	quiet     bool
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{stdin: stdin, stdout: stdout, stderr: stderr}
}

// command builds the command tree.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "offk8s",
		Short: "Kubernetes for places without internet",
		Long: `offk8s packs everything a Kubernetes cluster needs into one signed tarball,
serves it inside an offline network, and installs clusters from there.

  online    offk8s pack --version 1.36     downloads, checks and seals a bundle
  anywhere  offk8s verify BUNDLE           checks every byte, without unpacking
  offline   offk8s serve BUNDLE            HTTP, yum, apt and registry mirror
  targets   offk8s install                 a cluster from the mirror

Every flag can be set as OFFK8S_<FLAG> (--cache-dir is OFFK8S_CACHE_DIR); a flag
on the command line wins. With --format json, an error is one JSON object on stderr:
its code, message and hint.

Exit status: 0 done; 1 error; 2 usage or configuration; 3 partly done; 4 verification
failed; 5 refused by policy; 6 preflight failed; 7 changes pending; 11 locked;
12 wrong passphrase; 130 and 143 on signals.`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.prepare(cmd) },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(flagError)
	// Not root.Version: with it, cobra prints the version for "offk8s pakc --version 1.36" too.
	shown := root.Flags().Bool("version", false, "version for offk8s")
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", fmt.Sprintf(".FlagUsagesWrapped %d", helpWidth-wrapSlop)))
	f := root.PersistentFlags()
	f.StringVar(&a.format, "format", "text", "format of the result: text, json or yaml")
	f.StringVar(&a.progress, "progress", "auto", "progress on stderr: auto, tty, plain, json or none")
	f.StringVar(&a.logFormat, "log-format", "text", "format of log lines on stderr: text or json")
	f.CountVarP(&a.verbose, "verbose", "v", "more detail on stderr (repeat for still more)")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "only errors on stderr")
	root.AddCommand(
		a.versionsCommand(), a.initCommand(), a.explainCommand(), a.configCommand(), a.keysCommand(),
		a.packCommand(), a.lockCommand(), a.verifyCommand(), a.inspectCommand(), a.extractCommand(), a.whyCommand(), a.diffCommand(), a.mergeCommand(), a.inventoryCommand(), a.sbomCommand(), a.provenanceCommand(), a.signCommand(),
		a.serveCommand(), a.pushCommand(), a.planCommand(), a.doctorCommand(), a.installCommand(), a.ticketCommand(), a.drillCommand(), a.rotateCommand(), a.resetCommand(), a.logsCommand(), a.kubeconfigCommand(),
		a.stateCommand(),
		a.versionCommand(), a.agentCommand(), a.approverCommand(), a.apiProxyCommand(), a.smokeServerCommand(), a.releaseCommand(),
	)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for shell, file := range completionFiles {
		if c, _, err := root.Find([]string{"completion", shell}); err == nil {
			c.Example = "  offk8s completion " + shell + " > " + file
		}
	}
	checkArguments(root)
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if *shown {
			return printLines(a.stdout, versionLine())
		}
		return cmd.Help()
	}
	complete(root)
	return root
}

// Help has lines of helpWidth columns at most. pflag lets a last word pass the width that
// it is given by wrapSlop columns.
const (
	helpWidth = 100
	wrapSlop  = 5
)

// The values of the global flags.
var (
	formats       = []string{"text", "json", "yaml"}
	progressForms = []string{"auto", "tty", "plain", "json", "none"}
	logFormats    = []string{"text", "json"}
)

// prepare sets flags from the environment and checks the global ones.
func (a *app) prepare(cmd *cobra.Command) error {
	if !cmd.HasParent() {
		return nil // only prints help; its --version is not that of pack
	}
	errs, hint := []error{checkEmpty(cmd.Flags()), setFromEnvironment(cmd.Flags())}, ""
	for _, c := range []struct {
		flag, value string
		allowed     []string
	}{
		{"format", a.format, formats},
		{"progress", a.progress, progressForms},
		{"log-format", a.logFormat, logFormats},
	} {
		if !slices.Contains(c.allowed, c.value) {
			errs = append(errs, fmt.Errorf("--%s %q: want one of %s", c.flag, c.value, strings.Join(c.allowed, ", ")))
			hint = cmp.Or(hint, nearestOf(c.value, c.allowed))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return withHint(usageError{err}, "%s", hint)
	}
	for _, m := range misspelt(cmd.Root()) {
		a.warnf("%s sets no flag; did you mean %s?", m[0], m[1])
	}
	return nil
}

// log returns the logger of the command: warnings by default, more with -v, and then
// with the time of each record.
func (a *app) log() *slog.Logger {
	level := slog.LevelWarn
	switch {
	case a.quiet:
		level = slog.LevelError
	case a.verbose == 1:
		level = slog.LevelInfo
	case a.verbose > 1:
		level = slog.LevelDebug
	}
	o := &slog.HandlerOptions{Level: level}
	if a.logFormat == "json" || a.progress == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, o))
	}
	if a.verbose == 0 {
		return slog.New(newConsole(a.stderr, level))
	}
	return slog.New(slog.NewTextHandler(a.stderr, o))
}

// result writes v to stdout as JSON or YAML, or calls text, depending on --format.
func (a *app) result(v any, text func(w io.Writer) error) error {
	switch a.format {
	case "json":
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(withLists(v))
	case "yaml":
		out, err := strict.EncodeYAML(withLists(v))
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(out)
		return err
	default:
		return text(a.stdout)
	}
}

// warnf writes a warning to stderr, unless --quiet.
func (a *app) warnf(format string, args ...any) { a.message("warning", fmt.Sprintf(format, args...)) }

// notef writes a note to stderr, unless --quiet.
func (a *app) notef(format string, args ...any) { a.message("note", fmt.Sprintf(format, args...)) }

func (a *app) message(level, text string) {
	switch {
	case a.quiet:
	case a.progress == "json":
		_ = json.NewEncoder(a.stderr).Encode(map[string]string{"event": level, "text": text})
	default:
		fmt.Fprintf(a.stderr, "offk8s: %s: %s\n", level, text)
	}
}

// completionFiles are where the completion of each shell is looked for.
var completionFiles = map[string]string{
	"bash":       "/etc/bash_completion.d/offk8s",
	"fish":       "~/.config/fish/completions/offk8s.fish",
	"powershell": "offk8s.ps1",
	"zsh":        "/usr/local/share/zsh/site-functions/_offk8s",
}

// maxInput bounds a file of the user, such as pack.yaml or a Lock, in bytes.
const maxInput = 64 << 20

// isDocument returns an error if the content of a file that a user names is not JSON at all,
// as that of a file of another kind. One that is damaged begins as it should.
func isDocument(b []byte, name, kind string) error {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
		return nil
	}
	return usagef("%q: is no %s", name, kind)
}

// readInput reads a file of the user, or a pipe such as <(…).
func readInput(name string) ([]byte, error) {
	if err := notURL(name); err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(reader.Limit(f, maxInput))
	if errors.Is(err, syscall.EISDIR) {
		return nil, fmt.Errorf("%q is a directory, want a file", name)
	}
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, err)
	}
	return b, nil
}

// xdgDir returns the offk8s directory below an XDG base directory, such as
// $XDG_CACHE_HOME or ~/.cache.
func xdgDir(variable, fallback string) string {
	base := os.Getenv(variable)
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			home = "."
		}
		base = filepath.Join(home, fallback)
	}
	return filepath.Join(base, "offk8s")
}

func configDir() string { return xdgDir("XDG_CONFIG_HOME", ".config") }
func cacheDir() string  { return xdgDir("XDG_CACHE_HOME", ".cache") }
func stateDir() string  { return xdgDir("XDG_STATE_HOME", defaultState) }

// defaultState is the state directory of all programs below a home directory.
const defaultState = ".local/state"

// printLines writes lines of text.
func printLines(w io.Writer, lines ...string) error {
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}
