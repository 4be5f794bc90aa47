package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

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

// exitCases has every class of errors; the numbers are a contract with scripts,
// so they stand here as numbers.
var exitCases = []struct {
	name string
	err  error
	want int
	hint string
}{
	{"any other", errors.New("disk full"), 1, ""},
	{"usage", usagef("bad flag"), 2, ""},
	{"document", &strict.Error{Problems: []strict.Problem{{File: "cluster.yaml", Message: "x"}}}, 2, "fix the lines"},
	{"input of resolve", bundle.ErrInput, 2, "offk8s versions"},
	{"a file of pack.yaml is missing", errors.Join(bundle.ErrInput, fs.ErrNotExist), 2, "the directory in which pack runs"},
	{"a pipe in place of a file", errors.Join(bundle.ErrInput, reader.ErrNotRegular), 2, "name a regular file"},
	{"own build is dynamic", errors.Join(bundle.ErrInput, selfbin.ErrDynamic), 2, "make build"},
	{"binary of another architecture", errors.Join(bundle.ErrInput, selfbin.ErrMachine), 2, "make dist"},
	{"no binary for an architecture", errors.Join(bundle.ErrInput, bundle.ErrNoSelf), 2, "--self"},
	{"redirect into a private network", fetch.ErrPrivate, 1, "--allow-private-upstreams"},
	{"Docker configuration", fetch.ErrCredentials, 1, "DOCKER_CONFIG"},
	{"apt archive unknown", fetch.ErrNoArchive, 2, "--rewrite"},
	{"drill of a cluster with a fault", &drill.RefusedError{Err: agent.ErrStep}, 6, "offk8s install mends"},
	{"drill without the endpoint", &drill.UnreachableError{Err: errors.New("x")}, 6, "reaches the endpoint"},
	{"some hosts", installer.ErrPartial, 3, "same command"},
	{"some artifacts later", &bundle.PartialError{Failed: []error{errors.New("x"), &fetch.StatusError{Code: 503}}}, 3, "same command"},
	{"some artifacts never", &bundle.PartialError{Failed: []error{&fetch.StatusError{Code: 404}}}, 3, "does not help"},
	{"bundle altered", bundle.ErrVerify, 4, "again from the source"},
	{"bad signature", trust.ErrBadSignature, 4, "do not use"},
	{"unknown key", trust.ErrUnknownKey, 4, "fingerprint"},
	{"mirror altered", agent.ErrVerify, 4, "offk8s verify"},
	{"one artifact of many altered", &bundle.PartialError{Failed: []error{errors.New("404"), bundle.ErrVerify}}, 4, "again from the source"},
	{"image of a chart", bundle.ErrChartImage, 2, "charts[].images"},
	{"bad address of a registry", registry.ErrAddress, 2, "harbor.example"},
	{"registry denies", registry.ErrDenied, 1, "docker login"},
	{"registry of another authority", registry.ErrCertificate, 1, "--from-ca"},
	{"read-only registry", registry.ErrReadOnly, 1, "takes images"},
	{"no bundle in the registry", registry.ErrNoBundle, 1, "offk8s push"},
	{"cache that is too small", registry.ErrSmallCache, 2, "--cache-size"},
	{"registry without TLS", registry.ErrPlainHTTP, 1, "certificate"},
	{"registry away", reader.ErrUnavailable, 1, "runs"},
	{"mirrors with different bundles", installer.ErrMirrorsDiffer, 5, "the same bundle"},
	{"mirror with another CA", &installer.MirrorCAError{}, 4, "offk8s serve prints"},
	{"altered repository", metadata.ErrAltered, 4, "--rewrite"},
	{"signed already", bundle.ErrSigned, 2, "pack it again"},
	{"signs for another's bundle", bundle.ErrOtherKey, 2, "offk8s inspect"},
	{"image signed by another", fmt.Errorf("%w: %w", bundle.ErrVerify, bundle.ErrImageSignature), 4, "who signed it"},
	{"unsigned image", fmt.Errorf("%w: %w", bundle.ErrPolicy, bundle.ErrImageUnsigned), 5, "cosign sign"},
	{"no such image", bundle.ErrNoImage, 2, "--kind image"},
	{"signing program", trust.ErrSigner, 1, "--sign-exec"},
	{"scan refuses", errRefused, 5, "its output"},
	{"scan fails", errScan, 1, "--scan-exec"},
	{"no permission", fmt.Errorf("open x: %w", os.ErrPermission), 1, "another path"},
	{"others can read the key", trust.ErrKeyMode, 2, "chmod 600"},
	{"key elsewhere", trust.ErrExternal, 2, "--sign-exec"},
	{"replaced key", trust.ErrReplaced, 5, "new key"},
	{"revoked key", fmt.Errorf("%w: %w", agent.ErrPolicy, trust.ErrRevoked), 5, "the current key"},
	{"history of keys", fmt.Errorf("%w: %w", agent.ErrVerify, trust.ErrHistory), 4, "may be stolen"},
	{"policy", bundle.ErrPolicy, 5, "--require pinned"},
	{"unsigned", trust.ErrUnsigned, 5, "only signed content"},
	{"empty signature", trust.ErrEmptySignature, 5, "copy it again"},
	{"no key", trust.ErrNoKey, 5, "--key"},
	{"credentials of another cluster", agent.ErrIdentity, 5, "--state"},
	{"ticket of another machine", installer.ErrTicketHost, 6, "this machine's ticket"},
	{"ticket that has expired", installer.ErrTicketExpired, 5, "make a new one"},
	{"bundle of another ticket", installer.ErrTicketBundle, 5, "offk8s ticket"},
	{"state of another cluster", pki.ErrOtherState, 5, "--state"},
	{"damaged state", pki.ErrDamaged, 4, "copy it again"},
	{"delta without its base", &bundle.BaseError{}, 2, "DELTA BASE"},
	{"delta with another base", bundle.ErrOtherBase, 2, "packed with"},
	{"damaged part", bundle.ErrPart, 4, "sha256sum -c"},
	{"other versions", agent.ErrUpgrade, 5, "installed from"},
	{"rollback", agent.ErrDowngrade, 5, "--allow-downgrade"},
	{"host of another cluster", agent.ErrPolicy, 5, ""},
	{"expired", manifests.ErrExpired, 5, "--require-fresh"},
	{"packed in the future", manifests.ErrClock, 5, "clock"},
	{"preflight", &installer.PreflightError{}, 6, "ignorePreflight"},
	{"pending", quietError{exitPending}, 7, ""},
	{"cache locked", store.ErrLocked, 11, "--cache-dir"},
	{"host locked", agent.ErrLocked, 11, "wait"},
	{"passphrase", trust.ErrPassphrase, 12, "passphrase"},
	{"sudo wants a password", &host.SudoError{Host: "a", Err: host.ErrSudoPassword}, 1, "--ask-become-pass"},
	{"sudo refused it", &host.SudoError{Host: "a", Err: host.ErrSudoRefused}, 1, "not tried again"},
	{"requiretty", &host.SudoError{Host: "a", Err: host.ErrSudoTTY}, 1, "!requiretty"},
	{"no sudoer", &host.SudoError{Host: "a", Err: host.ErrSudoers}, 1, "/etc/sudoers.d"},
	{"no sudo", &host.SudoError{Host: "a", Err: host.ErrNoSudo}, 1, "install sudo"},
	{"encrypted key", &host.LockedKeyError{Files: []string{"id"}, Err: errors.New("no key")}, 1, "ssh-add"},
	{"host key unknown", host.ErrUnknownHost, 1, "ssh.hostKey"},
	{"host key changed", host.ErrChangedHost, 1, "changed"},
	{"a file for a directory", &fs.PathError{Op: "mkdir", Path: "b.tar", Err: syscall.ENOTDIR}, 2, "a directory is needed"},
	{"a directory for a file", &fs.PathError{Op: "open", Path: "dir", Err: syscall.EISDIR}, 2, "a file is needed"},
	{"a mirror with passwords", agent.ErrAccess, 2, "without --htpasswd"},
	{"disk full", &fs.PathError{Op: "write", Path: "b.tar", Err: syscall.ENOSPC}, 1, "free space"},
	{"file too large", &fs.PathError{Op: "write", Path: "b.tar", Err: syscall.EFBIG}, 1, "--split"},
}

func TestExitCodes(t *testing.T) {
	for _, tt := range exitCases {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			a := newApp(strings.NewReader(""), &stdout, &stderr)
			// Wrapped and beside others, as it comes from the libraries.
			err := fmt.Errorf("verb: %w", errors.Join(errors.New("another"), tt.err))
			if got := a.report(err); got != tt.want {
				t.Errorf("exit status %d, want %d", got, tt.want)
			}
			if !strings.Contains(stderr.String(), tt.hint) {
				t.Errorf("no %q in %q", tt.hint, stderr.String())
			}
			if stdout.Len() > 0 {
				t.Errorf("stdout has %q", stdout.String())
			}
		})
	}
}

// remediesInPage has the exitCases, by name, that troubleshooting.md describes with a row
// that contains the text.
var remediesInPage = map[string][]string{
	"is not in the catalog":             {"input of resolve"},
	"is dynamically linked":             {"own build is dynamic"},
	"a directory, a named pipe":         {"a pipe in place of a file"},
	"no binary for another":             {"no binary for an architecture", "binary of another architecture"},
	"leads into a private network":      {"redirect into a private network"},
	"credentials of a registry":         {"Docker configuration"},
	"the apt archive of":                {"apt archive unknown"},
	"exit 6 from `drill`":               {"drill of a cluster with a fault", "drill without the endpoint"},
	"exit 3 | some hosts":               {"some hosts"},
	"exit 3, some artifacts failed":     {"some artifacts later", "some artifacts never"},
	"exit 4, truncated, or a digest":    {"bundle altered", "bad signature", "one artifact of many altered"},
	"exit 4, signed by an unknown":      {"unknown key"},
	"exit 4, content of the mirror":     {"mirror altered"},
	"image of a chart does not exist":   {"image of a chart"},
	"the registry denies, is read-only": {"bad address of a registry", "registry denies", "read-only registry", "registry without TLS", "registry of another authority", "no bundle in the registry", "registry away"},
	"the cache is too small":            {"cache that is too small"},
	"serve different bundles":           {"mirrors with different bundles"},
	"another fingerprint":               {"mirror with another CA"},
	"a repository's metadata":           {"altered repository"},
	"signed already":                    {"signed already"},
	"the signing program failed":        {"signing program", "key elsewhere", "replaced key"},
	"others can read the key file":      {"others can read the key"},
	"the key was revoked":               {"revoked key"},
	"`bad history of keys`":             {"history of keys"},
	"refused by `--require pinned`":     {"policy"},
	"unsigned, or the signature is":     {"unsigned", "empty signature"},
	"exit 5, no public key":             {"no key"},
	"the signature of an image is by":   {"image signed by another"},
	"not the key of the bundle":         {"signs for another's bundle"},
	"wants a password or a client":      {"a mirror with passwords"},
	"an image has no signature":         {"unsigned image"},
	"the prefix of `--image-key`":       {"no such image"},
	"the state does not belong to":      {"credentials of another cluster"},
	"a ticket has expired":              {"ticket of another machine", "ticket that has expired", "bundle of another ticket"},
	"`--state` has another cluster":     {"state of another cluster", "damaged state"},
	"a delta without its base":          {"delta without its base", "delta with another base"},
	"a part is missing or damaged":      {"damaged part"},
	"other component versions":          {"other versions"},
	"an older bundle than the last one": {"rollback"},
	"belongs to another cluster":        {"host of another cluster"},
	"the scan refuses the bundle":       {"scan refuses", "scan fails"},
	"expired, or packed in the future":  {"expired", "packed in the future"},
	"exit 6, checks failed":             {"preflight"},
	"exit 11 | another `pack`":          {"cache locked"},
	"exit 11 | another operator":        {"host locked"},
	"exit 12, wrong passphrase":         {"passphrase"},
	"sudo asks, refuses a password":     {"sudo wants a password", "sudo refused it", "requiretty", "no sudoer", "no sudo"},
	"the key to log in is encrypted":    {"encrypted key"},
	"the host key is unknown or":        {"host key unknown", "host key changed"},
	"`no space left on device`":         {"disk full", "file too large"},
}

// Errors with a class of their own have a row in docs/troubleshooting.md. The message of
// some names the place itself, or the outcome is no error.
func TestTroubleshootingHasEveryClass(t *testing.T) {
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{
		"any other": true, "usage": true, "document": true, "a file of pack.yaml is missing": true, "pending": true,
		"a file for a directory": true, "a directory for a file": true, "no permission": true,
	}
	for text, names := range remediesInPage {
		if !strings.Contains(string(page), text) {
			t.Errorf("no row has %q", text)
		}
		for _, name := range names {
			described[name] = true
		}
	}
	for _, tt := range exitCases {
		if !described[tt.name] {
			t.Errorf("docs/troubleshooting.md has no row for %q", tt.name)
		}
	}
}

func TestEveryClassHasACase(t *testing.T) {
	for i, c := range classes {
		found := false
		for _, tt := range exitCases {
			if c.match(tt.err) {
				found = true
			}
		}
		if !found {
			t.Errorf("class %d (exit status %d, %q) matches no case", i, c.code, c.hint)
		}
	}
}

func TestReport(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		format string
		want   string
	}{
		{"nothing", nil, "text", ""},
		{"printed already", quietError{7}, "text", ""},
		{"hint of the command wins", withHint(usagef("no %q", "x"), "name %s", "it"), "text", "offk8s: error: no \"x\"\noffk8s: hint: name it\n"},
		{"several, one ends with a newline", errors.Join(errors.New("a\n"), errors.New("b")), "text", "offk8s: error: a\n  b\n"},
		{"ends with newlines", errors.New("a: b\n\n"), "text", "offk8s: error: a: b\n"},
		{"without a hint", usagef("--x: want a number"), "text", "offk8s: error: --x: want a number\n"},
	}
	for _, tt := range tests {
		var stderr bytes.Buffer
		a := newApp(nil, nil, &stderr)
		a.format = tt.format
		a.report(tt.err)
		if got := stderr.String(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestReportJSON(t *testing.T) {
	var stderr bytes.Buffer
	a := newApp(nil, nil, &stderr)
	a.format = "json"
	code := a.report(fmt.Errorf("open bundle: %w", trust.ErrNoKey))
	if err := failureOutput.check(stderr.Bytes(), false); err != nil {
		t.Error(err)
	}
	var got struct {
		Code          int
		Message, Hint string
	}
	if err := json.Unmarshal(stderr.Bytes(), &got); err != nil || code != 5 || got.Code != 5 ||
		got.Message != "open bundle: no public key configured" || !strings.Contains(got.Hint, "--key") {
		t.Errorf("exit status %d, %q: %v", code, stderr.String(), err)
	}
}

// Hints of pack: one for what the network did, one for what it brought.
func TestPackError(t *testing.T) {
	partial := &bundle.PartialError{}
	down := &url.Error{Op: "Get", URL: "https://x", Err: &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host"}}}
	for _, tt := range []struct {
		err  error
		code int
		hint string
	}{
		{fmt.Errorf("resolve: %w", down), exitError, "--rewrite"},
		{errors.Join(partial, down), exitPartial, "--rewrite"},
		{fmt.Errorf("pack: %w", partial), exitPartial, "does not help"},
		{&url.Error{Op: "Get", URL: "https://x", Err: x509.UnknownAuthorityError{}}, exitError, "SSL_CERT_FILE"},
		{trust.ErrUnsigned, exitVerify, "vendor's signature"},
		{trust.ErrBadSignature, exitVerify, "vendor's signature"},
		{bundle.ErrVerify, exitVerify, "do not use"},
		{errors.New("disk full"), exitError, ""},
	} {
		code, hint := classify(packError(tt.err))
		if code != tt.code || !strings.Contains(hint, tt.hint) || strings.Contains(hint, "this bundle") || strings.Contains(hint, "--insecure") {
			t.Errorf("%v: code %d, hint %q, want %d, %q", tt.err, code, hint, tt.code, tt.hint)
		}
	}
	if err := packError(nil); err != nil {
		t.Error(err)
	}
}

// A host that cannot be reached is one line, whatever was wanted from it.
func TestByHost(t *testing.T) {
	down := func(address, reason string) error {
		return &url.Error{Op: "Get", URL: address, Err: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New(reason)}}
	}
	dns := &url.Error{Op: "Get", URL: "https://b.example/v2/", Err: &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "b.example"}}}
	artifact := func(name string, err error) error {
		return &bundle.ArtifactError{Op: "fetch", Artifact: name, Err: err}
	}
	missing := artifact("c", &fetch.StatusError{URL: "https://c.example/c", Code: 404})
	want := `cannot reach a.example:8443: dial tcp: refused (1 artifact)
cannot reach b.example: no such host (2 artifacts)
` + missing.Error()
	list := []error{artifact("b1", dns), missing, artifact("a", down("https://a.example:8443/x", "refused")), artifact("b2", dns)}
	for name, err := range map[string]error{
		"resolve": errors.Join(list...),
		"pack":    fmt.Errorf("pack: %w", &bundle.PartialError{Failed: list, Total: 9}),
	} {
		got := byHost(err)
		if got.Error() != want {
			t.Errorf("%s: got\n%v\nwant\n%s", name, got, want)
		}
		if !errors.Is(got, err) {
			t.Errorf("%s: lost its causes", name)
		}
	}
	if other := errors.New("disk full"); byHost(other) != other {
		t.Errorf("changed %v", other)
	}
}

// No host of a story has everything, as after an install.
func TestPending(t *testing.T) {
	for _, tt := range []struct {
		o     installOptions
		steps int
		want  error
	}{
		{installOptions{dryRun: true, exitCode: true}, 1, quietError{exitPending}},
		{installOptions{dryRun: true, exitCode: true}, 0, nil},
		{installOptions{dryRun: true}, 1, nil},
		{installOptions{exitCode: true}, 1, nil},
	} {
		if got := tt.o.pending(tt.steps); got != tt.want {
			t.Errorf("%+v, %d steps: %v, want %v", tt.o, tt.steps, got, tt.want)
		}
	}
}
