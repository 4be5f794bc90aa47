package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/manifests"
)

// fetchPackage fetches a package after change; the digest is that of what the
// upstream serves, as if its metadata had been swapped too.
func fetchPackage(t *testing.T, kind manifests.ArtifactKind, url string, change func(*fetch.Env, *manifests.Artifact, *upstreamtest.Upstream)) error {
	t.Helper()
	up, err := upstreamtest.Start(t)
	if err != nil {
		t.Fatal(err)
	}
	var sleeps atomic.Int64
	env := newEnv(t, up, &sleeps)
	a := &manifests.Artifact{Kind: kind, Name: "chrony", Version: "2.0-1.el9", Platform: "linux/amd64", Distro: "rocky-9", Path: "Packages/c/chrony-2.0-1.el9.x86_64.rpm"}
	if kind == manifests.KindDeb {
		a.Version, a.Distro, a.Path = "2.0-1", "debian-12", "pool/c/chrony/chrony_2.0-1_amd64.deb"
	}
	a.Source = manifests.Source{URL: url, Trust: manifests.TrustSignature}
	change(&env, a, up)
	b := file(t, up, url)
	a.Source.Digest, a.Source.Size = digest.FromBytes(b), int64(len(b))
	for _, f := range fetch.Fetchers(env) {
		if f.Kind() == kind {
			err := f.Fetch(context.Background(), []*manifests.Artifact{a}, fetch.Silent().Start("", 0))
			if err != nil && !a.Blob.IsZero() {
				t.Error("refused, but filled in")
			}
			return err
		}
	}
	return errors.New("no fetcher")
}

func TestT21RPMsFromAHostileRepository(t *testing.T) {
	stranger, err := trust.GenerateKeys(upstreamtest.Built)
	if err != nil {
		t.Fatal(err)
	}
	fixture := func(t *testing.T, name string) []byte {
		b, err := os.ReadFile(filepath.Join("..", "rpm", "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tests := []struct {
		name   string
		want   error
		change func(*fetch.Env, *manifests.Artifact, *upstreamtest.Upstream)
	}{
		{"good", nil, func(*fetch.Env, *manifests.Artifact, *upstreamtest.Upstream) {}},
		{"unsigned", trust.ErrUnsigned, func(_ *fetch.Env, _ *manifests.Artifact, up *upstreamtest.Upstream) {
			up.Replace(chronyRPM, fixture(t, "unsigned.rpm"))
		}},
		{"signed by another key", trust.ErrUnknownKey, func(e *fetch.Env, _ *manifests.Artifact, _ *upstreamtest.Upstream) {
			e.Keyring = func(*manifests.Artifact) (*trust.Keyring, error) { return trust.ReadKeyring(stranger.OpenPGPPublic) }
		}},
		{"altered after signing", trust.ErrBadSignature, func(_ *fetch.Env, _ *manifests.Artifact, up *upstreamtest.Upstream) {
			b := bytes.Clone(file(t, up, chronyRPM))
			b[len(b)-20] ^= 1
			up.Replace(chronyRPM, b)
		}},
		{"another package of the vendor", fetch.ErrMismatch, func(_ *fetch.Env, _ *manifests.Artifact, up *upstreamtest.Upstream) {
			up.Replace(chronyRPM, file(t, up, strings.Replace(chronyRPM, "chrony-", "socat-", 1)))
		}},
		{"another version", fetch.ErrMismatch, func(_ *fetch.Env, a *manifests.Artifact, _ *upstreamtest.Upstream) { a.Version = "2.0-2.el9" }},
		{"another architecture", fetch.ErrMismatch, func(_ *fetch.Env, a *manifests.Artifact, _ *upstreamtest.Upstream) { a.Platform = "linux/arm64" }},
		{"another signer than the lock says", fetch.ErrMismatch, func(_ *fetch.Env, a *manifests.Artifact, _ *upstreamtest.Upstream) { a.Source.Signer = "ABCD" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := fetchPackage(t, manifests.KindRPM, chronyRPM, tt.change); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestDebsUnderAnotherName(t *testing.T) {
	tests := []struct {
		name   string
		change func(*fetch.Env, *manifests.Artifact, *upstreamtest.Upstream)
	}{
		{"another package", func(_ *fetch.Env, _ *manifests.Artifact, up *upstreamtest.Upstream) {
			up.Replace(chronyDeb, file(t, up, strings.ReplaceAll(chronyDeb, "c/chrony/chrony", "s/socat/socat")))
		}},
		{"another version", func(_ *fetch.Env, a *manifests.Artifact, _ *upstreamtest.Upstream) { a.Version = "1:2.0-1" }},
		{"another architecture", func(_ *fetch.Env, a *manifests.Artifact, _ *upstreamtest.Upstream) { a.Platform = "linux/arm64" }},
		{"no package at all", func(_ *fetch.Env, _ *manifests.Artifact, up *upstreamtest.Upstream) {
			up.Replace(chronyDeb, []byte("<html>not found</html>"))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := fetchPackage(t, manifests.KindDeb, chronyDeb, tt.change); err == nil {
				t.Error("accepted")
			}
		})
	}
}
