package fetch

import (
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Temporary reports whether the same request may succeed later: a connection
// failed or broke, or the server answered 5xx, 408 or 429. It looks at the first
// cause in err.
func Temporary(err error) bool {
	if _, ok := errors.AsType[permanent](err); ok || errors.Is(err, errPolicy) {
		return false
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return false
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return false
	}
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status.temporary()
	}
	if answer, ok := errors.AsType[*transport.Error](err); ok {
		return answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests
	}
	_, request := errors.AsType[*url.Error](err)
	_, network := errors.AsType[net.Error](err)
	return request || network || errors.Is(err, io.ErrUnexpectedEOF)
}
