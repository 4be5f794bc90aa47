package mirror

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxPath bounds the decoded path of a URL in bytes.
const maxPath = 4096

// checkPath returns 0 when the path of u is canonical, the status of the
// refusal otherwise. Hostile spellings are refused and not cleaned up: a client
// that sends "..", "//" or a doubly encoded name wants something that is not
// there, and cleaning would hide it.
func checkPath(u *url.URL) int {
	path := u.Path
	switch {
	case len(path) > maxPath:
		return http.StatusRequestURITooLong
	case !canonical(path):
		return http.StatusBadRequest
	case u.RawPath != "" && strings.Contains(strings.ToLower(u.RawPath), "%2f"):
		return http.StatusBadRequest // an encoded slash would be taken for a separator
	}
	return 0
}

// canonical reports whether a decoded path is absolute and made of plain
// segments: none empty (but the last, as in "/v2/"), "." or "..", no control
// characters, no backslash, no percent sign left over from double encoding.
func canonical(path string) bool {
	rest, found := strings.CutPrefix(path, "/")
	if !found || !utf8.ValidString(path) {
		return false
	}
	for _, c := range []byte(rest) {
		if c < ' ' || c == 0x7f || c == '\\' || c == '%' {
			return false
		}
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(rest, "/"), "/") {
		if segment == "." || segment == ".." || segment == "" && rest != "" {
			return false
		}
	}
	return true
}
