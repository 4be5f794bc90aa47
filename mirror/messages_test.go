package mirror

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/bundle/trust"
)

func TestCheckURL(t *testing.T) {
	good := []string{"https://dmz", "http://dmz.example:80", "https://10.0.0.5:8443/", "https://[fd00::5]:8443", "https://[::1]"}
	bad := []string{
		"", "dmz:8443", "ftp://dmz", "https://", "https://fd00::5:8443", "https://[fd00::5", "https://[::::]:1", "https://[10.0.0.5]",
		"https://[fe80::1%25eth0]", "https://dmz:0", "https://dmz:65536", "https://dmz:+1", "https://dmz:", "https://dmz/path", "https://a b", "https://$(id)",
	}
	for _, s := range good {
		if err := CheckURL(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range bad {
		if CheckURL(s) == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

// With an IPv6 literal every page works as it is printed: curl takes brackets for a
// pattern without -g.
func TestPagesWithAnIPv6Literal(t *testing.T) {
	m := configured(t, Options{PublicURL: "https://[fd00::5]:8443", CA: testCA})
	for line := range strings.Lines(body(t, get(m, "GET", "/"))) {
		if strings.Contains(line, "curl") && strings.Contains(line, "[fd00::5]") && !strings.Contains(line, " -g ") {
			t.Errorf("curl without -g: %s", line)
		}
	}
	if script := body(t, get(m, "GET", "/install.sh")); !strings.Contains(script, "base='https://[fd00::5]:8443'") || strings.Contains(script, "curl -fsS") {
		t.Errorf("install.sh:\n%s", script)
	}
}

// The fingerprints that a user must compare are on the page and in the output of
// serve.
func TestPagesShowFingerprints(t *testing.T) {
	vendor, err := trust.GenerateKeys(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := trust.ReadKeyring(vendor.OpenPGPPublic)
	if err != nil {
		t.Fatal(err)
	}
	d := &pageData{openPGP: vendor.OpenPGPPublic, vendorKeys: map[string]string{"/keys/x/y.asc": string(vendor.OpenPGPPublic)}}
	d.addFingerprints()
	text := d.clientConfig("https://dmz")
	for _, path := range []string{"/offk8s.asc", "/keys/x/y.asc"} {
		if want := ring.Fingerprints()[0] + "  " + path; !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestTwoSlashesAreNamed(t *testing.T) {
	m := mirrorOf(t, Options{}, newSample(t).Bundle)
	for _, path := range []string{"//yum/rocky-9", "/yum//x", "/v2//pause/tags/list"} {
		r := get(m, "GET", path)
		if got := body(t, r); r.StatusCode != 400 || got != "bad request: two slashes in a row\n" {
			t.Errorf("%s: status %d, %q", path, r.StatusCode, got)
		}
	}
}

// The default log shows what an operator looks for, and no more.
func TestDefaultLog(t *testing.T) {
	s := newSample(t)
	damage(t, s.Bundle, s.layer)
	var log bytes.Buffer
	m := mirrorOf(t, Options{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))}, s.Bundle)
	tests := []struct {
		path   string
		logged bool
	}{
		{plugins, false},
		{"/nothing", true},
		{"/v2/pause/manifests/9", true},
		{"/v2/pause/blobs/" + s.layer.String(), true},
	}
	for _, tt := range tests {
		log.Reset()
		m.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, tt.path, nil))
		if got := strings.Contains(log.String(), tt.path); got != tt.logged {
			t.Errorf("%s: logged %v, want %v: %s", tt.path, got, tt.logged, log.String())
		}
	}
}
