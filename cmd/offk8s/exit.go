package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Exit codes: a contract with scripts, documented in the root command's help.
const (
	exitOK         = 0
	exitError      = 1
	exitUsage      = 2
	exitPartial    = 3
	exitVerify     = 4
	exitPolicy     = 5
	exitPreflight  = 6
	exitPending    = 7
	exitLocked     = 11
	exitPassphrase = 12
)

// usageError is a mistake on the command line or in the environment.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// usagef makes a usageError.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// asUsage makes err a usageError; nil stays nil.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// hintError carries advice that only the command knows.
type hintError struct {
	err  error
	hint string
}

func (e hintError) Error() string { return e.err.Error() }
func (e hintError) Unwrap() error { return e.err }

// withHint adds advice to err; nil stays nil.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return hintError{err, fmt.Sprintf(format, args...)}
}

// quietError sets an exit code for an outcome that the command has told already.
type quietError struct{ code int }

func (e quietError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// report prints err with its hint and returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitOK
	}
	var quiet quietError
	if errors.As(err, &quiet) {
		return quiet.code
	}
	code, hint := classify(err)
	if a.format == "json" || a.progress == "json" {
		enc := json.NewEncoder(a.stderr)
		_ = enc.Encode(map[string]any{"code": code, "message": err.Error(), "hint": hint})
		return code
	}
	text := strings.ReplaceAll(err.Error(), "\n\n", "\n") // answers of servers end so
	fmt.Fprintf(a.stderr, "offk8s: error: %s\n", strings.ReplaceAll(text, "\n", "\n  "))
	if hint != "" {
		fmt.Fprintf(a.stderr, "offk8s: hint: %s\n", hint)
	}
	return code
}

// classify returns the exit code of err and a default hint: the first class
// that matches, the most specific ones first.
func classify(err error) (code int, hint string) {
	code = exitError
	for _, c := range classes {
		if c.match(err) {
			code, hint = c.code, c.hint
			break
		}
	}
	var unknown usageError
	if code == exitError && (errors.As(err, &unknown) || cobraUsage(err)) {
		code, hint = exitUsage, "see --help"
	}
	var h hintError
	if errors.As(err, &h) {
		hint = h.hint
	}
	return code, hint
}

// cobraUsage recognises cobra's own complaints, which have no type.
func cobraUsage(err error) bool {
	return strings.HasPrefix(err.Error(), "unknown command ") || strings.HasPrefix(err.Error(), "required flag")
}

// class maps errors of the libraries to an exit code and a general hint.
type class struct {
	match func(error) bool
	code  int
	hint  string
}

// is matches a sentinel.
func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// as matches a type.
func as[T error](err error) bool {
	var t T
	return errors.As(err, &t)
}
