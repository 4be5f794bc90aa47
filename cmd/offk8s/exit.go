package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/registry"
	"github.com/offk8s/offk8s/bundle/selfbin"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/drill"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/installer/pki"
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

// classes maps errors to exit codes and hints. The first match wins, so a
// specific class comes before a general one.
var classes = []class{
	{as[*strict.Error], exitUsage, "fix the lines above; offk8s init cluster and offk8s init pack write commented examples"},
	{as[*installer.PreflightError], exitPreflight, "fix the hosts or cluster.yaml; --ignore NAME or hostPreparation.ignorePreflight turns a check of a host into a warning, and offk8s doctor shows all checks"},
	{as[*drill.RefusedError], exitPreflight, "offk8s install mends what is down, and offk8s logs HOST shows why it is; then run drill again"},
	{as[*drill.UnreachableError], exitPreflight, "run it on a machine that reaches the endpoint, and check the firewalls; offk8s kubeconfig prints the credential"},
	{is(agent.ErrLocked), exitLocked, "another offk8s works there; wait until it ends, or end one that hangs with --take-over"},
	{is(agent.ErrIdentity), exitPolicy, "bring the cluster's state here: offk8s state export on the machine that installed it, then state import (--from HOST if the control planes have copies); or name its directory with --state"},
	{is(installer.ErrTicketHost), exitPreflight, "take this machine's ticket: it is named after the host"},
	{is(installer.ErrTicketExpired), exitPolicy, "make a new one on the machine with the state of the cluster: offk8s ticket --host NAME"},
	{is(installer.ErrTicketBundle), exitPolicy, "serve the bundle of the ticket, or make new tickets: offk8s ticket"},
	{is(pki.ErrOtherState), exitPolicy, "give another directory with --state; offk8s state show describes what is there"},
	{is(pki.ErrDamaged), exitVerify, "do not use this file; copy it again from the source, or take another copy"},
	{is(agent.ErrUpgrade), exitPolicy, "serve the bundle that the cluster was installed from; offk8s cannot upgrade a cluster yet"},
	{as[*bundle.BaseError], exitUsage, "name the base after the bundle, for example: offk8s verify DELTA BASE"},
	{is(bundle.ErrOtherBase), exitUsage, "name the bundle that the delta was packed with"},
	{is(bundle.ErrOtherKey), exitUsage, "name the key file of the key that signed the bundle; offk8s keys show shows the fingerprint of one, offk8s inspect that of a bundle's signer"},
	{is(bundle.ErrSigned), exitUsage, "offk8s verify shows whether it is signed with your key; to sign it with another one, pack it again"},
	{is(trust.ErrSigner), exitError, "run the program of --sign-exec by itself; docs/keys.md says what it gets and what it must answer"},
	{is(errRefused), exitPolicy, "its output above says why; leave out or update what it found, or change its rules"},
	{is(errScan), exitError, "run the program of --scan-exec by itself; docs/own-content.md says what it gets. --scan-timeout gives it more time"},
	{is(trust.ErrKeyMode), exitUsage, "chmod 600 takes the others' rights away; a public key (.pub) cannot sign, name the file without that ending"},
	{is(trust.ErrExternal), exitUsage, "give --sign-exec PROGRAM, which signs with it"},
	{is(trust.ErrReplaced), exitPolicy, "give the key file of the new key with --key"},
	{is(trust.ErrRevoked), exitPolicy, "get a bundle that the current key has signed; do not use this one"},
	{is(trust.ErrHistory), exitVerify, "do not use this bundle: a key may be stolen. Ask who packs which key is theirs, and trust only that one (docs/keys.md)"},
	{is(bundle.ErrPart), exitVerify, "copy what is named above again from the source, beside the other parts; sha256sum -c BUNDLE.sha256 checks all of them"},
	{is(metadata.ErrAltered), exitVerify, "a repository's metadata was altered, has expired or is malformed: try another mirror with --rewrite FROM=TO; if the vendor has a new key, name it under keyrings: in pack.yaml"},
	{is(bundle.ErrImageSignature), exitVerify, "do not use this image before you know who signed it; the key may be another one's, or the image was built again and not signed"},
	{is(bundle.ErrImageUnsigned), exitPolicy, "sign it in its registry (cosign sign --key), and pack again; --attachments none leaves signatures out"},
	{is(bundle.ErrNoImage), exitUsage, "offk8s inspect --kind image lists the names of the images, with their registry"},
	{is(trust.ErrNoKey), exitPolicy, "give the public key with --key, or as ~/.config/offk8s/offk8s.pub; bring it from the packing machine separately from the bundle"},
	{is(trust.ErrEmptySignature), exitPolicy, "do not use this bundle; copy it again from the source"},
	{is(trust.ErrUnsigned), exitPolicy, "offk8s uses only signed content; find out why the signature is missing"},
	{is(trust.ErrUnknownKey), exitVerify, "compare the fingerprint of your public key (offk8s keys show) with the packer's"},
	{is(trust.ErrBadSignature), exitVerify, "do not use this bundle; copy it again from the source"},
	{is(agent.ErrDowngrade), exitPolicy, "serve the newer bundle, or give --allow-downgrade to install the older one"},
	{is(installer.ErrMirrorsDiffer), exitPolicy, "serve the same bundle on all mirrors of mirror.urls, or take the others out"},
	{is(agent.ErrPolicy), exitPolicy, ""},
	{is(agent.ErrAccess), exitUsage, "hosts have no credentials for a mirror: run another offk8s serve for them, without --htpasswd and --client-ca, on an address that only they reach"},
	{as[*installer.MirrorCAError], exitVerify, "compare it with the fingerprint that offk8s serve prints now: without its old --state directory it has made a new CA, and mirror.caFingerprint must change; if they differ, someone may be intercepting the connection; several mirrors have one CA if all have a copy of the same --state directory"},
	{is(agent.ErrVerify), exitVerify, "run offk8s verify with this public key on the mirror's tarball; if it is good, run the same command again"},
	{is(installer.ErrPartial), exitPartial, "fix the cause and run the same command again; it continues where it stopped"},
	{is(host.ErrUnknownHost), exitError, "log in once with ssh and compare the fingerprint, or set ssh.hostKey in cluster.yaml"},
	{is(host.ErrChangedHost), exitError, "find out why the key changed before you accept it; someone may be intercepting the connection"},
	{is(host.ErrSudoPassword), exitError, "-K (--ask-become-pass) asks for the password once, --become-password-file reads it; or allow the user sudo without one (NOPASSWD)"},
	{is(host.ErrSudoRefused), exitError, "a refused password is not tried again, since failed logins lock accounts: check it with ssh and sudo on one host; hosts with another password need a run of their own"},
	{is(host.ErrSudoTTY), exitError, "in a file of /etc/sudoers.d on the host, write Defaults:USER !requiretty, with the user of the login"},
	{is(host.ErrSudoers), exitError, "in a file of /etc/sudoers.d on the host, write USER ALL=(root) ALL, with the user of the login, or log in as another (ssh.user)"},
	{is(host.ErrNoSudo), exitError, "install sudo on the host, or log in as root (ssh.user)"},
	{as[*host.LockedKeyError], exitError, "on a terminal offk8s asks for the passphrase; without one, start ssh-agent and add the key (ssh-add)"},
	{is(trust.ErrPassphrase), exitPassphrase, "check the passphrase; without it nobody can open what it protects"},
	{is(store.ErrLocked), exitLocked, "another pack uses this cache; wait for it, or give --cache-dir"},
	{is(bundle.ErrPolicy), exitPolicy, "pin its digest in a catalog of yours (--catalog), name the key of a signed image (--image-key), or pack without --require pinned or signed"},
	{is(manifests.ErrExpired), exitPolicy, "pack a newer one; without --require-fresh, offk8s only warns"},
	{is(manifests.ErrClock), exitPolicy, "set this machine's clock; without --require-fresh, offk8s only warns"},
	{is(fetch.ErrPrivate), exitError, "--allow-private-upstreams follows such redirects; a --rewrite to that host does too"},
	{is(fetch.ErrCredentials), exitError, "correct that file, or set DOCKER_CONFIG to an empty directory to pull without credentials"},
	{is(fetch.ErrNoArchive), exitUsage, "give --rewrite apt:ARCHIVE=https://…; by default offk8s uses the apt sources of this machine if it runs that distribution"},
	{is(bundle.ErrChartImage), exitUsage, "list the chart's images under charts[].images in pack.yaml; helm template with your values shows them"},
	{is(registry.ErrAddress), exitUsage, "for example harbor.example/offk8s; offk8s push writes the bundle there"},
	{is(registry.ErrDenied), exitError, "docker login or podman login saves the credentials that offk8s uses; the account needs rights below the prefix"},
	{is(registry.ErrCertificate), exitError, "name the authority that issued it: --ca FILE of push, --from-ca FILE of serve"},
	{is(registry.ErrReadOnly), exitError, "push to a registry that takes images; a proxy cache and one under maintenance do not"},
	{is(registry.ErrNoBundle), exitError, "offk8s push writes one there; give the same REGISTRY/PREFIX to both"},
	{is(registry.ErrSmallCache), exitUsage, "give a --cache-size that holds the largest blob, best the whole bundle"},
	{is(registry.ErrPlainHTTP), exitError, "give the registry a certificate and name its authority, or accept a registry without TLS with the flag for it"},
	{is(reader.ErrUnavailable), exitError, "check that the registry runs, and its address"},
	{is(bundle.ErrVerify), exitVerify, "do not use this bundle; copy it again from the source"},
	{is(selfbin.ErrDynamic), exitUsage, "build it with make build, or CGO_ENABLED=0 go build ./cmd/offk8s"},
	{is(bundle.ErrNoSelf), exitUsage, "give --self ARCH=FILE; make dist builds the binaries of all architectures"},
	{func(err error) bool { return is(bundle.ErrInput)(err) && is(fs.ErrNotExist)(err) }, exitUsage, "paths in pack.yaml and in flags begin at the directory in which pack runs"},
	{is(selfbin.ErrMachine), exitUsage, "give the program of that architecture: --self ARCH=FILE; make dist builds all"},
	{is(reader.ErrNotRegular), exitUsage, "name a regular file; write the content of a pipe to one first"},
	{is(bundle.ErrInput), exitUsage, "offk8s versions lists what can be packed; --catalog adds to it"},
	{is(syscall.ENOTDIR), exitUsage, "a directory is needed there: give another path, or move the file away"},
	{is(syscall.EISDIR), exitUsage, "a file is needed there: give the path of one"},
	{is(syscall.ENOSPC), exitError, "free space there, or write to another directory; finished downloads are kept"},
	{is(syscall.EFBIG), exitError, "its file system has no files of this size: write to another one, or in parts with --split"},
	{partial(fetch.Temporary), exitPartial, "run the same command again; finished downloads are kept"},
	{as[*bundle.PartialError], exitPartial, "trying again does not help; correct what is named above in pack.yaml, the flags or the catalog; finished downloads are kept"},
}

// class maps errors of the libraries to an exit code and a default hint.
type class struct {
	match func(error) bool
	code  int
	hint  string
}

// is returns a match for errors.Is.
func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// as reports whether err is or wraps a T.
func as[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// partial returns a match for a *bundle.PartialError with a failure for which
// cause holds.
func partial(cause func(error) bool) func(error) bool {
	return func(err error) bool {
		p, ok := errors.AsType[*bundle.PartialError](err)
		return ok && slices.ContainsFunc(p.Failed, cause)
	}
}

// usageError is a mistake on the command line or in the environment.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// usagef returns a usageError.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// asUsage wraps err as a usageError; it returns nil for nil.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// hintError is an error with a hint that overrides the one of its class, and
// with an exit code unless it is 0.
type hintError struct {
	err  error
	hint string
	code int
}

func (e hintError) Error() string { return e.err.Error() }
func (e hintError) Unwrap() error { return e.err }

// withHint adds a hint to err; it returns nil for nil.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return hintError{err: err, hint: fmt.Sprintf(format, args...)}
}

// quietError sets the exit code if the command has already printed the outcome.
type quietError struct{ code int }

func (e quietError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// failure is an error on stderr with --format json.
type failure struct {
	Code    int    `json:"code"` // exit status
	Message string `json:"message"`
	Hint    string `json:"hint"` // advice, may be empty
}

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
		_ = enc.Encode(failure{code, err.Error(), hint})
		return code
	}
	text := strings.ReplaceAll(strings.TrimRight(err.Error(), "\n"), "\n\n", "\n") // as at the end of a server's answer
	fmt.Fprintf(a.stderr, "offk8s: error: %s\n", strings.ReplaceAll(text, "\n", "\n  "))
	if hint != "" {
		fmt.Fprintf(a.stderr, "offk8s: hint: %s\n", hint)
	}
	return code
}

// classify returns the exit code and the hint of the first class that matches err.
func classify(err error) (code int, hint string) {
	code = exitError
	for _, c := range classes {
		if c.match(err) {
			code, hint = c.code, c.hint
			break
		}
	}
	if code == exitError && (as[usageError](err) || cobraUsage(err)) {
		code = exitUsage
	}
	if hint == "" && code == exitError && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)) {
		hint = "give another path, or run it as a user who may read and write there"
	}
	if h, ok := errors.AsType[hintError](err); ok {
		hint, code = h.hint, cmp.Or(h.code, code)
	}
	return code, hint
}

// cobraUsage reports whether err is one of cobra's usage errors, which have no type.
func cobraUsage(err error) bool {
	return strings.HasPrefix(err.Error(), "unknown command ") || strings.HasPrefix(err.Error(), "required flag")
}
