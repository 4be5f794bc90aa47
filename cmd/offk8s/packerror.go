package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// packError gives an error of pack its hint. Artifacts of a host that cannot be
// reached become one line for the host.
func packError(err error) error {
	foreign := slices.ContainsFunc([]error{bundle.ErrVerify, trust.ErrUnsigned, trust.ErrUnknownKey, trust.ErrBadSignature},
		func(target error) bool { return errors.Is(err, target) })
	switch {
	case err == nil, errors.Is(err, bundle.ErrImageSignature):
		return err
	case errors.Is(err, bundle.ErrInput):
		return plainInput(err)
	case errors.Is(err, metadata.ErrAltered):
		return byHost(err)
	case foreign:
		return hintError{
			err: byHost(err), code: exitVerify,
			hint: "do not use what is named above: the catalog, the Lock or the vendor's signature says otherwise; the upstream changed it, or a proxy or mirror in between did",
		}
	case as[x509.UnknownAuthorityError](err):
		return withHint(byHost(err), "if a proxy inspects TLS, add its CA to this machine's trusted ones, or set SSL_CERT_FILE")
	case as[*net.OpError](err), errors.Is(err, fetch.ErrSilent):
		return withHint(byHost(err), "pack needs the internet; set HTTPS_PROXY, or give --rewrite FROM=TO for a mirror in your network; finished downloads are kept")
	default:
		return err
	}
}

// resolving matches the beginning of an error about an artifact of the Manifest.
var resolving = regexp.MustCompile(`^resolve: ("([^"]+)": )(.*)$`)

// plainInput leaves out of an error about input the verb, and the name of the artifact where
// the cause says more.
func plainInput(err error) error {
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		m := resolving.FindStringSubmatch(line)
		switch {
		case m == nil:
		case strings.Contains(strings.ReplaceAll(m[3], `"`, ""), m[2]), slices.Contains([]string{"distros", "cni", "runtime", "kubernetes"}, m[2]):
			lines[i] = m[3]
		default:
			lines[i] = m[1] + m[3]
		}
	}
	return hostsError{strings.Join(lines, "\n"), err}
}

// hostsError replaces the text of err by a shorter one.
type hostsError struct {
	text string
	err  error
}

func (e hostsError) Error() string { return e.text }
func (e hostsError) Unwrap() error { return e.err }

// byHost returns err with one line for each host that cannot be reached, before
// the other failures. The causes stay in the error.
func byHost(err error) error {
	affected := map[string]int{}
	var others []string
	for _, e := range failures(err) {
		if host, cause, ok := unreachable(e); ok {
			affected[host+": "+cause]++
		} else {
			others = append(others, e.Error())
		}
	}
	if len(affected) == 0 {
		return err
	}
	var lines []string
	for _, line := range slices.Sorted(maps.Keys(affected)) {
		lines = append(lines, fmt.Sprintf("cannot reach %s (%s)", line, count(affected[line], "artifact")))
	}
	return hostsError{strings.Join(append(lines, others...), "\n"), err}
}

// failures returns the parts of a joined error, and those of a *bundle.PartialError.
func failures(err error) []error {
	if p, ok := errors.AsType[*bundle.PartialError](err); ok {
		return p.Failed
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// unreachable returns the host that a request did not reach, with the reason.
func unreachable(err error) (host, cause string, ok bool) {
	request, ok := errors.AsType[*url.Error](err)
	if !ok {
		return "", "", false
	}
	host = hostOf(request.URL)
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return host, dns.Err, true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return host, op.Error(), true
	}
	if cert, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return host, cert.Err.Error(), true
	}
	if request.Op == "Head" { // of fetch.Client.Unreachable; downloads do not use it
		return host, request.Err.Error(), true
	}
	return "", "", false
}

// hostOf returns the host and port of a URL, or s if it is none.
func hostOf(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return s
	}
	return u.Host
}

// warnUnused warns about rewrites that match no address of the Lock, such as
// those with a typo.
func (a *app) warnUnused(rewrites []manifests.Rewrite, lock *manifests.Lock) {
	var addresses []string
	for _, u := range bundle.Upstreams(lock) {
		addresses = append(addresses, u.Address)
	}
	for _, r := range rewrites {
		if !slices.ContainsFunc(addresses, func(s string) bool { return fetch.Matches(r, s) }) {
			a.warnf("rewrite %q=%q matches nothing that this bundle needs", r.From, r.To)
		}
	}
}

// count returns "1 artifact", "2 artifacts".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
