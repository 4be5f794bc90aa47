package mirror

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxPath bounds the decoded path of a URL in bytes.
const maxPath = 4096

// checkPath returns 0 if the path of u is canonical, else the status of the
// refusal. Paths with "..", "//" or double encoding are refused and not cleaned:
// an honest client does not send them.
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

// canonical reports whether a decoded path is absolute and has plain segments
// only: none is empty (except the last, as in "/v2/"), "." or "..", and none has
// a control character, a backslash or a percent sign (of double encoding).
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
