package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/manifests/strict"
)

// flagError turns an error of pflag into a usage error of cmd, with the nearest
// flag as a hint if the flag is unknown.
func flagError(cmd *cobra.Command, err error) error {
	if cmd.HasSubCommands() && !cmd.HasParent() && cmd.Flags().NArg() > 0 { // the flag is that of a command that is none
		return unknownCommand(cmd, cmd.Flags().Args())
	}
	hint := cmd.CommandPath() + " --help lists the flags"
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		short := unknown.GetSpecifiedShortnames()
		// -version begins with the flag -v; ersion is left.
		long := func(name string) bool {
			return len(short) > 1 && strings.HasSuffix(name, short) || short == "V" && name == "version"
		}
		best, near := strict.Nearest(unknown.GetSpecifiedName(), names)
		if i := slices.IndexFunc(names, long); i >= 0 {
			hint = fmt.Sprintf("did you mean --%s?", names[i])
		} else if said := otherFlagHint(cmp.Or(short, unknown.GetSpecifiedName()), cmd.Flags()); said != "" {
			hint = said
		} else if near && short == "" {
			hint = fmt.Sprintf("did you mean --%s?", best)
		}
	}
	if lacks, ok := errors.AsType[*pflag.ValueRequiredError](err); ok && lacks.GetSpecifiedShortnames() == "f" && cmd.Flags().Lookup("follow") != nil {
		hint = "did you mean --follow?"
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		err, hint = badValue("--"+invalid.GetFlag().Name, invalid), ""
	}
	return withHint(usagef("%s: %w", cmd.CommandPath(), err), "%s", hint)
}

// badValue describes a value that a flag does not take; name is the flag or its
// environment variable.
func badValue(name string, invalid *pflag.InvalidValueError) error {
	want, ok := map[string]string{
		"int": "a whole number", "int64": "a whole number", "count": "a whole number",
		"bool": "true or false", "duration": "a duration such as 30s or 5m",
	}[invalid.GetFlag().Value.Type()]
	if !ok {
		return fmt.Errorf("%s %q: %w", name, invalid.GetValue(), invalid.Unwrap())
	}
	return fmt.Errorf("%s %q: want %s", name, invalid.GetValue(), want)
}

// checkArguments turns errors about arguments into usage errors that name their
// command. A command that only groups others prints its help.
func checkArguments(cmd *cobra.Command) {
	if cmd.Name() == "help" {
		cmd.Args = knownTopic
	} else if !cmd.Runnable() {
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		cmd.Args = unknownCommand
	} else if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return argumentError(cmd, args, err)
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		checkArguments(c)
	}
}

// knownTopic returns an error if the arguments of help are no command.
func knownTopic(cmd *cobra.Command, args []string) error {
	found, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 && found.HasSubCommands() {
		return unknownCommand(found, rest)
	}
	return nil
}

// unknownCommand returns an error for the first argument of a command that only
// groups others.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := cmd.CommandPath() + " --help lists the commands"
	cmd.SuggestionsMinimumDistance = 2
	below := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name())
	if said, ok := otherNames[strings.TrimSpace(below+" "+args[0])]; ok {
		hint = said
	} else if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf("did you mean %s?", strings.Join(near, " or "))
	}
	return withHint(usagef("unknown command %q for %q", args[0], cmd.CommandPath()), "%s", hint)
}

// argumentError describes arguments that a command does not take.
func argumentError(cmd *cobra.Command, args []string, err error) error {
	extra := 0
	switch err.Error() {
	case fmt.Sprint(cobra.NoArgs(cmd, args)):
	case fmt.Sprint(cobra.MaximumNArgs(1)(cmd, args)):
		extra = 1
	default:
		_, want, _ := strings.Cut(cmd.Use, " ")
		if strings.HasPrefix(err.Error(), "accepts ") || strings.HasPrefix(err.Error(), "requires ") { // of cobra
			return usagef("%s: found %s, want %s", cmd.CommandPath(), count(len(args), "argument"), want)
		}
		if len(cmd.ValidArgs) > 0 && strings.HasPrefix(err.Error(), "invalid argument") {
			err = fmt.Errorf("found %q, want %s", args[0], strings.Join(cmd.ValidArgs, " or "))
			return withHint(usagef("%s: %w", cmd.CommandPath(), err), "%s", nearestOf(args[0], cmd.ValidArgs))
		}
		return usagef("%s: %w", cmd.CommandPath(), err)
	}
	err = usagef("%s: unexpected argument %q", cmd.CommandPath(), args[extra])
	if _, parse := catalog.ParseVersion(args[0]); parse == nil && cmd.Flags().Lookup("version") != nil {
		return withHint(err, "did you mean --version %s?", args[0])
	}
	if cmd.Flags().Lookup(args[extra]) != nil {
		return withHint(err, "did you mean --%s?", args[extra])
	}
	return withHint(err, "%s", argumentHint(cmd, args[extra]))
}

// argumentHint returns the flag that takes a file that was given as an argument, "" for
// another argument.
func argumentHint(cmd *cobra.Command, arg string) string {
	has := func(name string) bool { return cmd.Flags().Lookup(name) != nil }
	switch ext := filepath.Ext(arg); {
	case has("file") && (ext == ".yaml" || ext == ".yml"):
		return "did you mean -f " + arg + "?"
	case has("output") && slices.Contains([]string{".tar", ".key", ".yaml", ".yml"}, ext):
		return "did you mean -o " + arg + "?"
	case has("mirror") && ext == ".tar":
		return "offk8s serve serves the bundle; cluster.yaml has its URL"
	}
	return ""
}

// exclude makes cmd refuse more than one of these flags.
func exclude(cmd *cobra.Command, names ...string) {
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		var given []string
		for _, n := range names {
			if cmd.Flags().Changed(n) {
				given = append(given, "--"+n)
			}
		}
		if len(given) > 1 {
			return usagef("%s: %s exclude each other", cmd.CommandPath(), strings.Join(given, " and "))
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

// nearestOf returns the hint that names the most similar of names, "" if none is similar.
func nearestOf(got string, names []string) string {
	best, near := strict.Nearest(got, names)
	if !near {
		return ""
	}
	return strict.DidYouMean(best)
}

// setFromEnvironment sets the flags that the command line does not set from
// OFFK8S_<FLAG>.
func setFromEnvironment(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := variableOf(f)
		value, ok := os.LookupEnv(name)
		if !ok || f.Changed || f.Name == "help" {
			return
		}
		err := flags.Set(f.Name, value)
		if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
			err = badValue(name, invalid)
		}
		errs = append(errs, err)
	})
	return errors.Join(errs...)
}

// misspelt returns the variables of the environment that set no flag of any command, each
// with the one that is meant. Variables that resemble none are those of other programs.
func misspelt(root *cobra.Command) [][2]string {
	var out [][2]string
	names := sync.OnceValue(func() []string { return variables(root) })
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		rest, ours := strings.CutPrefix(name, variablePrefix)
		if !ours || len(rest) < 4 || slices.Contains(names(), rest) {
			continue
		}
		if best, ok := strict.Nearest(rest, names()); ok {
			out = append(out, [2]string{name, variablePrefix + best})
		}
	}
	return out
}

// variables returns the variables of the environment that offk8s knows, without their
// prefix.
func variables(cmd *cobra.Command) []string {
	names := []string{strings.TrimPrefix(bundleVariable, variablePrefix)}
	add := func(f *pflag.Flag) { names = append(names, strings.TrimPrefix(variableOf(f), variablePrefix)) }
	cmd.Flags().VisitAll(add)
	cmd.PersistentFlags().VisitAll(add)
	for _, c := range cmd.Commands() {
		names = append(names, variables(c)...)
	}
	return names
}

const (
	variablePrefix = "OFFK8S_"
	bundleVariable = variablePrefix + "BUNDLE" // names the bundle that no argument names
)

// variableOf returns the variable of the environment that sets f.
func variableOf(f *pflag.Flag) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// checkEmpty returns an error for each flag of the command line with an empty
// value, which would silently mean its default.
func checkEmpty(flags *pflag.FlagSet) error {
	var errs []error
	flags.Visit(func(f *pflag.Flag) {
		if v := f.Value.String(); v == "" || v == "[]" || v == `[""]` {
			errs = append(errs, fmt.Errorf("--%s: no value is given; without the flag, the default is used", f.Name))
		}
	})
	return errors.Join(errs...)
}
