package fetch_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
)

// A web page of a login is not the archive that its name promises.
func TestFirstUseChecksTheSuffix(t *testing.T) {
	up, err := upstreamtest.Start(t)
	if err != nil {
		t.Fatal(err)
	}
	var sleeps atomic.Int64
	env := newEnv(t, up, &sleeps)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		_, _ = w.Write([]byte(r.URL.Query().Get("body")))
	})
	for _, tt := range []struct{ path, want string }{
		{"/a.tar.gz?type=text/html&body=<html>", "text/html"},
		{"/a.tgz?type=text/html&body=<html>", "text/html"},
		{"/a.zip?body=", "a.zip"},
		{"/a.deb?type=text/html&body=<html>", "text/html"},
		{"/a.zip?body=PK%03%04x", ""},
		{"/a.tar.gz?body=%1f%8bx", ""},
		{"/a?type=text/html&body=<html>", ""},
		{"/a.html?type=text/html&body=<html>", ""},
	} {
		_, _, err := env.FirstUse(t.Context(), url+tt.path, fetch.Silent().Start("", 0))
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, fetch.ErrMismatch) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.path, err, tt.want)
		}
	}
}
