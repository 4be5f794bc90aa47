package installer_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/mirror"
)

func TestOpenSeveralMirrors(t *testing.T) {
	serve := func(name string) *httptest.Server {
		b := bundletest.New(t)
		b.AddSmall(t)
		b.Lock.Name = name
		opened, err := bundle.Open(t.Context(), []string{b.Seal(t)}, bundletest.Options(b.Key))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = opened.Close() })
		m, err := mirror.New([]*bundle.Bundle{opened}, mirror.Options{})
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(m)
		t.Cleanup(srv.Close)
		return srv
	}
	one, two, other, gone := serve("site"), serve("site"), serve("another"), serve("site")
	gone.Close()
	keys := string(bundletest.Key(t).PublicPEM())
	open := func(urls ...string) (*installer.Mirror, error) {
		return installer.OpenMirror(t.Context(), manifests.ClusterMirror{URLs: urls}, agent.Bundle{PublicKeys: keys})
	}
	got, err := open(gone.URL, one.URL, two.URL+"/")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Away) != 1 || !strings.Contains(got.Away[0].Error(), gone.URL) || strings.Join(got.Agent.URLs, " ") != strings.Join([]string{gone.URL, one.URL, two.URL}, " ") {
		t.Errorf("got %+v", got)
	}
	one.Close() // requests go on with the last
	if err := got.Has(t.Context(), "/files/"+bundletest.KubeletPath); err != nil {
		t.Error(err)
	}
	if _, err := open(gone.URL, one.URL); err == nil || !strings.Contains(err.Error(), gone.URL) || !strings.Contains(err.Error(), one.URL) {
		t.Errorf("all away: error %v", err)
	}
	if _, err := open(two.URL, other.URL); !errors.Is(err, installer.ErrMirrorsDiffer) || !errors.Is(err, agent.ErrPolicy) {
		t.Errorf("error %v, want ErrMirrorsDiffer", err)
	}
	closed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer closed.Close()
	if _, err := open(closed.URL, two.URL); !errors.Is(err, agent.ErrAccess) || !strings.Contains(err.Error(), closed.URL+": ") || !strings.Contains(err.Error(), "it wants a password") {
		t.Errorf("a mirror with passwords: error %v", err)
	}
	strange := "sha256:" + strings.Repeat("0", 64)
	secure := httptest.NewTLSServer(two.Config.Handler)
	defer secure.Close()
	if _, err := installer.OpenMirror(t.Context(), manifests.ClusterMirror{URLs: []string{gone.URL, secure.URL}, CAFingerprint: strange}, agent.Bundle{PublicKeys: keys}); err == nil {
		t.Error("a mirror without the CA is accepted")
	}
	members := httptest.NewUnstartedServer(two.Config.Handler)
	members.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	members.StartTLS()
	defer members.Close()
	_, err = installer.OpenMirror(t.Context(), manifests.ClusterMirror{URLs: []string{members.URL}, CAFingerprint: strange}, agent.Bundle{PublicKeys: keys})
	if !errors.Is(err, agent.ErrAccess) || !strings.Contains(err.Error(), "it wants a client certificate") {
		t.Errorf("a mirror with client certificates: error %v", err)
	}
}
