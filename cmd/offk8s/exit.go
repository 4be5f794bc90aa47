package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
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

// classes is the whole mapping of errors to exit codes; the first match wins,
// so the more specific class stands before the general one.
var classes = []class{
	{as[*strict.Error], exitUsage, "fix the lines above; offk8s init writes a commented example"},
	{as[*installer.PreflightError], exitPreflight, "mend the hosts, or list a check under hostPreparation.ignorePreflight to make it a warning"},
	{is(agent.ErrLocked), exitLocked, "another offk8s works on that host; wait for it to end"},
	{is(agent.ErrPolicy), exitPolicy, "--allow-downgrade accepts an older bundle"},
	{is(agent.ErrVerify), exitVerify, "the mirror serves something else than the key signed; compare key, fingerprint and bundle"},
	{is(installer.ErrPartial), exitPartial, "mend what failed and run the same command again; it goes on where it stopped"},
	{is(host.ErrUnknownHost), exitError, "log in once with ssh and compare the fingerprint, or write it as ssh.hostKey into cluster.yaml"},
	{is(host.ErrChangedHost), exitError, "find out why the key changed before you accept it; somebody may stand between"},
	{is(trust.ErrPassphrase), exitPassphrase, "check the passphrase; without it the key cannot be used"},
	{is(store.ErrLocked), exitLocked, "another pack uses this cache; wait for it or give --cache-dir"},
	{is(trust.ErrNoKey), exitPolicy, "give the public key with --key; it comes from the packing machine on another way than the bundle"},
	{is(trust.ErrUnsigned), exitPolicy, "get a signed bundle; --insecure-allow-unsigned accepts this one"},
	{is(trust.ErrUnknownKey), exitVerify, "compare the fingerprint of your public key (offk8s keys show) with the packer's"},
	{is(trust.ErrBadSignature), exitVerify, "do not use this bundle; copy it again from the source"},
	{is(bundle.ErrPolicy), exitPolicy, ""},
	{is(manifests.ErrExpired), exitPolicy, "pack a newer one; without --require-fresh it is used with a warning"},
	{is(manifests.ErrClock), exitPolicy, "set this machine's clock; without --require-fresh the bundle is used with a warning"},
	{is(fetch.ErrNoArchive), exitUsage, "--rewrite apt:ARCHIVE=https://… names it; without, the apt sources of this machine are used if it runs that distribution"},
	{is(bundle.ErrVerify), exitVerify, "do not use what is named above; fetch or copy it again from the source"},
	{is(bundle.ErrInput), exitUsage, "offk8s versions lists what can be packed; --catalog adds to it, --self ARCH=FILE names the offk8s binary of another architecture"},
	{as[*bundle.PartialError], exitPartial, "run the same command again; what was fetched is kept"},
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
	_, ok := errors.AsType[T](err)
	return ok
}

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
	if quiet, ok := errors.AsType[quietError](err); ok {
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
	if code == exitError && (as[usageError](err) || cobraUsage(err)) {
		code, hint = exitUsage, "see --help"
	}
	if h, ok := errors.AsType[hintError](err); ok {
		hint = h.hint
	}
	return code, hint
}

// cobraUsage recognises cobra's own complaints, which have no type.
func cobraUsage(err error) bool {
	return strings.HasPrefix(err.Error(), "unknown command ") || strings.HasPrefix(err.Error(), "required flag")
}
