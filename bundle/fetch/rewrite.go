package fetch

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests"
)

// AptScheme starts the address of a file of a Debian-style archive, whose host
// only the packing machine or a rewrite knows: "apt:debian/pool/main/…".
const AptScheme = "apt:"

// ErrNoArchive means that there is no rewrite for an apt archive.
var ErrNoArchive = errors.New("no source for apt archive")

// sortRewrites checks rs and returns them longest From first; of two equal ones
// the first stays first and therefore wins.
func sortRewrites(rs []manifests.Rewrite) ([]manifests.Rewrite, error) {
	var errs []error
	out := make([]manifests.Rewrite, 0, len(rs))
	for _, r := range rs {
		r.From, r.To = strings.TrimRight(r.From, "/"), strings.TrimRight(r.To, "/")
		if err := checkRewrite(r); err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, r)
	}
	slices.SortStableFunc(out, func(a, b manifests.Rewrite) int { return len(b.From) - len(a.From) })
	return out, errors.Join(errs...)
}

func checkRewrite(r manifests.Rewrite) error {
	fail := func(why string) error {
		return fmt.Errorf("rewrite %q=%q: %s", r.From, r.To, why)
	}
	toURL := strings.HasPrefix(r.To, "http://") || strings.HasPrefix(r.To, "https://")
	switch {
	case r.From == "" || r.To == "":
		return fail("both sides are needed")
	case strings.Contains(r.From, "://") && !toURL:
		return fail("a URL is rewritten to an http:// or https:// address")
	case strings.HasPrefix(r.From, AptScheme) && !toURL:
		return fail("an apt archive is at an http:// or https:// address")
	}
	if toURL {
		u, err := url.Parse(r.To)
		if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return fail("not a plain address")
		}
	} else if strings.Contains(r.To, "://") {
		return fail("only http:// and https:// are known")
	}
	return nil
}

// cutPrefix is strings.CutPrefix for prefixes that end at a path boundary.
func cutPrefix(s, prefix string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(s, prefix)
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return rest, true
}

// Matches reports whether r replaces the address or the repository s.
func Matches(r manifests.Rewrite, s string) bool {
	_, ok := cutPrefix(s, strings.TrimRight(r.From, "/"))
	return ok
}

// rewrite applies the longest rewrite that matches s.
func (c *Client) rewrite(s string) (string, bool) {
	for _, r := range c.rewrites {
		if rest, ok := cutPrefix(s, r.From); ok {
			return r.To + rest, true
		}
	}
	return s, false
}

// URL returns the address to request for rawURL: rewritten, and either http or
// https. For an apt archive without a rewrite the error is ErrNoArchive.
func (c *Client) URL(rawURL string) (string, error) {
	target, rewritten := c.rewrite(rawURL)
	if archive, isApt := strings.CutPrefix(target, AptScheme); isApt && !rewritten {
		return "", fmt.Errorf("%w %q", ErrNoArchive, host(archive))
	}
	u, err := url.Parse(target)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", rawURL, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("address %q: scheme %q, want http or https", rawURL, u.Scheme)
	}
	return target, nil
}

// Archive returns the address of an apt archive, and whether there is a rewrite
// for it.
func (c *Client) Archive(name string) (string, bool) {
	return c.rewrite(AptScheme + name)
}
