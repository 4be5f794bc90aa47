package files

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// etag returns the strong validator of content, its digest. The stored and the
// decoded form of a file have different digests and so different validators.
func etag(d digest.Digest) string { return `"` + d.String() + `"` }

// matches reports whether a list of entity tags (If-None-Match, If-Match) holds
// tag. If weak is set, W/"x" matches "x", as for If-None-Match (RFC 9110, 13.1.2).
func matches(list []string, tag string, weak bool) bool {
	for _, line := range list {
		for one := range strings.SplitSeq(line, ",") {
			one = strings.TrimSpace(one)
			if weak {
				one = strings.TrimPrefix(one, "W/")
			}
			if one == "*" || one == tag {
				return true
			}
		}
	}
	return false
}

// acceptsZstd reports whether the request names zstd as an acceptable content
// coding. "*" is not enough: old clients send it and cannot decode zstd.
func acceptsZstd(h http.Header) bool {
	for _, line := range h["Accept-Encoding"] {
		for one := range strings.SplitSeq(line, ",") {
			coding, params, _ := strings.Cut(one, ";")
			if strings.EqualFold(strings.TrimSpace(coding), "zstd") {
				return !refused(params)
			}
		}
	}
	return false
}

// refused reports whether the parameters of a coding set its weight to zero.
func refused(params string) bool {
	name, value, _ := strings.Cut(strings.TrimSpace(params), "=")
	if !strings.EqualFold(strings.TrimSpace(name), "q") {
		return false
	}
	weight, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	return err != nil || weight <= 0
}
