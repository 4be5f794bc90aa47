package files

import (
	"errors"
	"strconv"
	"strings"
)

// errUnsatisfiable means that the content has no byte of the range: status 416.
var errUnsatisfiable = errors.New("range outside of the content")

// span is a part of the content: length bytes from start.
type span struct{ start, length int64 }

// parseRange parses a Range header for content of size bytes. If ok is false, the
// whole content is sent: there is no header, or it has another unit, a syntax
// error or several ranges. RFC 9110, section 14.2 allows a server to ignore Range,
// and requests for many ranges are a known attack on servers.
func parseRange(header string, size int64) (s span, ok bool, err error) {
	const unit = "bytes="
	if len(header) < len(unit) || !strings.EqualFold(header[:len(unit)], unit) {
		return span{}, false, nil
	}
	first, last, found := strings.Cut(strings.Trim(header[len(unit):], " \t"), "-")
	if !found || strings.Contains(last, ",") || strings.Contains(first, ",") {
		return span{}, false, nil
	}
	first, last = strings.TrimRight(first, " \t"), strings.TrimLeft(last, " \t")
	if first == "" {
		return suffixRange(last, size)
	}
	from, good := position(first)
	if !good {
		return span{}, false, nil
	}
	to := size - 1
	if last != "" {
		end, good := position(last)
		if !good || end < from {
			return span{}, false, nil
		}
		to = min(to, end)
	}
	if from >= size {
		return span{}, false, errUnsatisfiable
	}
	return span{from, to - from + 1}, true, nil
}

// suffixRange returns the range of the last n bytes, "bytes=-n".
func suffixRange(n string, size int64) (span, bool, error) {
	length, good := position(n)
	switch {
	case !good:
		return span{}, false, nil
	case length == 0 || size == 0:
		return span{}, false, errUnsatisfiable
	}
	length = min(length, size)
	return span{size - length, length}, true, nil
}

// position parses digits only, while ParseInt would accept a sign.
func position(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
