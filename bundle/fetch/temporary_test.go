package fetch

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

func TestTemporary(t *testing.T) {
	request := func(err error) error { return &url.Error{Op: "Get", URL: "https://a.example/", Err: err} }
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"refused connection", request(&net.OpError{Op: "dial", Err: errors.New("connection refused")}), true},
		{"cut body", fmt.Errorf("read: %w", io.ErrUnexpectedEOF), true},
		{"503", &StatusError{Code: 503}, true},
		{"429 of a registry", &transport.Error{StatusCode: 429}, true},
		{"404", &StatusError{Code: 404}, false},
		{"404 of a registry", &transport.Error{StatusCode: 404}, false},
		{"foreign certificate", request(x509.UnknownAuthorityError{}), false},
		{"certificate of another host", request(x509.HostnameError{Certificate: &x509.Certificate{}}), false},
		{"too large", permanent{request(ErrTooLarge)}, false},
		{"redirect out of TLS", request(errPolicy), false},
		{"wrong digest", ErrMismatch, false},
		{"no such platform", errors.New("has no image for linux/arm64"), false},
	} {
		if got := Temporary(fmt.Errorf("fetch: %w", tt.err)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
