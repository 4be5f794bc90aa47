package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	fake "github.com/google/go-containerregistry/pkg/registry"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/registry"
	"github.com/offk8s/offk8s/mirror"
)

// serve --watch notices a bundle that was pushed, asks for nothing else, and a registry
// that is away changes nothing.
func TestWatchRegistry(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv("DOCKER_CONFIG", dir)
	var away atomic.Bool
	next := fake.New(fake.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	}))
	defer srv.Close()
	address := strings.TrimPrefix(srv.URL, "http://") + "/site"
	key := bundletest.Key(t)
	push := func(sequence int) *bundle.Bundle {
		t.Helper()
		b := bundletest.New(t)
		b.Key, b.Lock.Sequence = key, int64(sequence)
		b.AddSmall(t)
		opened, err := bundle.Open(t.Context(), []string{b.Seal(t)}, bundletest.Options(key))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = opened.Close() })
		if _, err := registry.Push(t.Context(), opened, address, registry.PushOptions{Options: registry.Options{Keychain: authn.NewMultiKeychain()}}); err != nil {
			t.Fatal(err)
		}
		return opened
	}
	first := push(1)

	public := filepath.Join(dir, "k.pub")
	if err := os.WriteFile(public, key.PublicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	o := serveOptions{from: []string{registry.Scheme + address}, watch: true, trust: trustOptions{keys: []string{public}}}
	r := newReloader(newApp(nil, io.Discard, io.Discard), o, nil)
	r.askEvery = time.Millisecond
	var err error
	if r.cache, err = registry.NewCache(dir, 1<<20); err != nil {
		t.Fatal(err)
	}
	defer r.cache.Close()
	if r.current, err = r.openServed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.pushedAnother(t.Context()) {
		t.Error("the bundle that is open is taken for another one")
	}
	away.Store(true)
	if r.pushedAnother(t.Context()) {
		t.Error("a registry that is away has another bundle")
	}
	away.Store(false)
	second := push(2)
	if first.Root() == second.Root() {
		t.Fatal("both bundles have the same root")
	}

	keep := func() error { return nil }
	var taken mirror.Next
	err = r.during(t.Context(), []func() error{keep, keep}, func(ctx context.Context) error {
		taken = <-r.next
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.current.bundles[0].Root(); got != second.Root() {
		t.Errorf("root %s, want that of the second bundle %s", got, second.Root())
	}
	taken.Done()
	if r.pushedAnother(t.Context()) {
		t.Error("the second bundle is taken for another one")
	}
	if err := r.current.close(); err != nil {
		t.Error(err)
	}
}
