package fetch_test

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/manifests"
)

// An upstream must not lead offk8s into the network of its machine.
func TestT25RedirectToAPrivateAddress(t *testing.T) {
	var hits atomic.Int64
	internal := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		_, _ = w.Write([]byte("internal"))
	})
	var target string
	entrance := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target, http.StatusFound)
	})
	port := internal[strings.LastIndex(internal, ":"):]
	for _, target = range []string{
		internal, "http://localhost" + port, "http://[::1]" + port, "http://[::ffff:127.0.0.1]" + port, "http://0.0.0.0" + port,
		"http://169.254.169.254/latest", "http://10.1.2.3/", "http://192.168.0.1/", "http://100.64.0.1/", "http://[fe80::1]/", "http://[fd00::1]/",
	} {
		waits := 0
		c := newClient(t, fetch.Options{Waiting: func(fetch.Wait) { waits++ }})
		if _, err := get(c, entrance, 1<<10); !errors.Is(err, fetch.ErrPrivate) {
			t.Errorf("%s: got %v, want %v", target, err, fetch.ErrPrivate)
		}
		if waits > 0 {
			t.Errorf("%s: tried again", target)
		}
	}
	if hits.Load() > 0 {
		t.Errorf("the internal server was asked %d times", hits.Load())
	}
	target = internal
	for name, o := range map[string]fetch.Options{
		"flag":    {AllowPrivate: true},
		"rewrite": {Rewrites: []manifests.Rewrite{{From: "https://made-up.example", To: internal}}},
	} {
		if got, err := get(newClient(t, o), entrance, 1<<10); err != nil || got != "internal" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	// A registry chooses the host of its token service as well. The library of the
	// registry refuses addresses, the transport names with private addresses.
	registry := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://localhost`+port+`/token",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	before := hits.Load()
	c := newClient(t, fetch.Options{Rewrites: []manifests.Rewrite{{From: "example.com", To: serve(t, registry)}}, Keychain: anonymous{}})
	ref, err := fetch.ParseImage("example.com/made/up:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ResolveImage(t.Context(), ref); err == nil || hits.Load() != before {
		t.Errorf("token service: got %v, want %v", err, fetch.ErrPrivate)
	}
}

func TestNoRetryForWhatCannotHeal(t *testing.T) {
	tls := "https" + strings.TrimPrefix(serve(t, func(http.ResponseWriter, *http.Request) {}), "http")
	redirect := func(to string) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) })
	}
	closed := serve(t, func(http.ResponseWriter, *http.Request) {})
	closed = closed[:strings.LastIndex(closed, ":")] + ":1"
	for name, tt := range map[string]struct {
		url   string
		waits int
	}{
		"file redirect":  {redirect("file:///etc/passwd"), 0},
		"ftp redirect":   {redirect("ftp://a.example/x"), 0},
		"body too large": {serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2<<10)) }), 0},
		"not found":      {serve(t, http.NotFound), 0},
		"refused":        {closed, 1},
		"no TLS":         {tls, 1},
		"no such host":   {"http://made-up.invalid/", 1},
	} {
		waits := 0
		if _, err := get(newClient(t, fetch.Options{Waiting: func(fetch.Wait) { waits++ }}), tt.url, 1<<10); err == nil || waits > tt.waits {
			t.Errorf("%s: waited %d times, want %d; %v", name, waits, tt.waits, err)
		}
	}
}

// A byte now and then must not keep pack busy.
func TestT25DripEnds(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	})
	c := newClient(t, fetch.Options{Attempts: 2, IdleTimeout: 200 * time.Millisecond})
	start := time.Now()
	if _, err := get(c, url, 1<<20); err == nil || time.Since(start) > 20*time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
}

// An altered or endless manifest is no lost network.
func TestAlteredManifest(t *testing.T) {
	want := digest.FromString("what was asked for")
	for name, tt := range map[string]struct {
		body []byte
		err  error
	}{
		"altered": {[]byte("{}"), fetch.ErrMismatch},
		"endless": {make([]byte, 8<<20), fetch.ErrTooLarge},
	} {
		requests := 0
		err := pull(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				requests++
				_, _ = w.Write(tt.body)
			}
		}), want, nil)
		if !errors.Is(err, tt.err) || requests != 1 {
			t.Errorf("%s: %d requests, got %v, want %v", name, requests, err, tt.err)
		}
	}
}

type brokenHelper struct{ err error }

func (b brokenHelper) Resolve(authn.Resource) (authn.Authenticator, error) { return nil, b.err }

func TestCredentialHelperThatCannotRun(t *testing.T) {
	missing := brokenHelper{errors.New("error getting credentials - err: exec: \"docker-credential-desktop\": executable file not found in $PATH, out: ``")}
	t.Setenv("DOCKER_CONFIG", "/made-up")
	var log strings.Builder
	ref, err := fetch.ParseImage("example.com/made/up:1")
	if err != nil {
		t.Fatal(err)
	}
	resolve := func(h http.HandlerFunc, k authn.Keychain) error {
		c := newClient(t, fetch.Options{
			Keychain: k, Log: slog.New(slog.NewTextHandler(&log, nil)),
			Rewrites: []manifests.Rewrite{{From: "example.com", To: serve(t, h)}},
		})
		_, first := c.ResolveImage(t.Context(), ref)
		_, second := c.ResolveImage(t.Context(), ref)
		return errors.Join(first, second)
	}
	if err := resolve(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }, missing); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "docker-credential-desktop") || !strings.Contains(log.String(), "/made-up/config.json") {
		t.Errorf("%d warnings, want one with the file and the helper:\n%s", n, log.String())
	}
	err = resolve(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}, missing)
	if err == nil || !strings.Contains(err.Error(), "401") || !strings.Contains(err.Error(), "docker-credential-desktop") {
		t.Errorf("got %v, want both reasons", err)
	}
	err = resolve(http.NotFound, brokenHelper{errors.New("invalid character")})
	if !errors.Is(err, fetch.ErrCredentials) || !strings.Contains(err.Error(), "/made-up/config.json") {
		t.Errorf("got %v, want %v with the file", err, fetch.ErrCredentials)
	}
}
