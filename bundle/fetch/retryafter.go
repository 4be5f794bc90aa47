package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// retryAfter returns the pause that an answer asks for (RFC 9110, 10.2.3: seconds or
// a date), 0 if it asks for none.
func retryAfter(resp *http.Response) time.Duration {
	v := resp.Header.Get("Retry-After")
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(time.Until(at).Round(time.Second), 0)
	}
	return 0
}

// pauseError is an error of a registry with the pause that it asks for.
type pauseError struct {
	error
	pause time.Duration
}

func (e pauseError) Error() string { return e.error.Error() + tooLong(e.pause) }

func (e pauseError) Unwrap() error { return e.error }

// tooLong is the end of an error after which nothing is tried again because of the
// pause.
func tooLong(pause time.Duration) string {
	if pause <= maxRetryAfter {
		return ""
	}
	return fmt.Sprintf(" and asks for a pause of %s", pause)
}

// askedPause returns the pause that a server asked for, 0 for none.
func askedPause(err error) time.Duration {
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status.RetryAfter
	}
	if asked, ok := errors.AsType[pauseError](err); ok {
		return asked.pause
	}
	return 0
}
