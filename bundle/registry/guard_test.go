package registry

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Plain HTTP stays on this machine unless it is allowed.
func TestPlainHTTP(t *testing.T) {
	asked := roundTripper(func(*http.Request) (*http.Response, error) { return &http.Response{}, nil })
	for _, tt := range []struct {
		url     string
		allowed bool
		want    error
	}{
		{"http://10.0.0.9:5000/v2/", false, ErrPlainHTTP},
		{"http://localhost.example/v2/", false, ErrPlainHTTP},
		{"http://10.0.0.9:5000/v2/", true, nil},
		{"http://127.0.0.1:5000/v2/", false, nil},
		{"http://[::1]:5000/v2/", false, nil},
		{"https://10.0.0.9:5000/v2/", false, nil},
	} {
		if _, err := (guard{asked, tt.allowed}).RoundTrip(httptest.NewRequest("GET", tt.url, nil)); !errors.Is(err, tt.want) {
			t.Errorf("%s, allowed %v: error %v, want %v", tt.url, tt.allowed, err, tt.want)
		}
	}
	if tr, err := (Options{}).transport(); err != nil || tr.(guard).plain {
		t.Errorf("%+v, error %v", tr, err)
	}
	if _, err := (Options{CA: []byte("x")}).transport(); err == nil {
		t.Error("a CA without a certificate is accepted")
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
