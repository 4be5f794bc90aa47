package files

import (
	"errors"
	"strconv"
	"strings"
)

// errUnsatisfiable says that a range lies wholly outside of the content: 416.
var errUnsatisfiable = errors.New("range outside of the content")

// span is a part of the content: length bytes from start.
type span struct{ start, length int64 }

// parseRange reads a Range header for content of size bytes. ok is false where
// the header asks for nothing that is answered in part: no header, another
// unit, a syntax error, or several ranges, which get the whole content (RFC
// 9110, section 14.2 lets a server ignore Range; answering many ranges in one
// response is a known way to make servers work hard).
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

// suffixRange is the range of the last n bytes, "bytes=-n".
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

// position reads digits alone: no sign, no space, as ParseInt would take.
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
