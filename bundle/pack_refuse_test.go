package bundle_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/manifests"
)

func TestT20BinarySwappedAtTheSource(t *testing.T) {
	up := startUpstream(t)
	p := newPacker(t, up)
	lock := p.mustResolve(wanted("rocky-9"))
	const runc = "https://github.com/opencontainers/runc/releases/download/v1.4.3/runc.amd64"
	evil := []byte("#!/bin/sh\n# Not runc.\n")
	up.Replace(runc, evil)
	// The checksum file beside it is swapped as well: whoever can do one can do both.
	up.Replace(runc+".sha256", []byte(digest.FromBytes(evil).Encoded()))
	_, err := bundle.Pack(context.Background(), lock, p.options("b.tar"))
	if !errors.Is(err, bundle.ErrVerify) {
		t.Fatalf("got %v, want %v", err, bundle.ErrVerify)
	}
	var failed *bundle.ArtifactError
	if !errors.As(err, &failed) || !strings.Contains(failed.Artifact, "runc") || !strings.Contains(err.Error(), digest.FromBytes(evil).String()) {
		t.Errorf("error does not name artifact and digest: %v", err)
	}
	if p.store.Has(digest.FromBytes(evil)) {
		t.Error("the swapped file is in the store")
	}
	if _, err := os.Stat(p.options("b.tar").Output); !os.IsNotExist(err) {
		t.Errorf("bundle: %v", err)
	}
}

func TestT20FirstUseIsRecorded(t *testing.T) {
	up := startUpstream(t)
	p := newPacker(t, up)
	const url = "https://dl.k8s.io/v1.36.3/kubernetes-server-linux-amd64.tar.gz"
	m := wanted("rocky-9")
	m.Files = []manifests.ExtraFile{{Name: "server.tar.gz", URL: url + ".sha256"}}
	lock := p.mustResolve(m)
	content, _ := up.File(url + ".sha256")
	for _, a := range lock.Artifacts {
		if a.Name == "server.tar.gz" && (a.Source.Trust != manifests.TrustFirstUse || a.Source.Digest != digest.FromBytes(content)) {
			t.Errorf("recorded as %+v", a.Source)
		}
	}
	if _, err := p.resolve(m, func(o *bundle.ResolveOptions) { o.Require = bundle.RequirePinned }); !errors.Is(err, bundle.ErrPolicy) {
		t.Errorf("with pins required: %v", err)
	}
	// What was seen at resolve counts at pack.
	up.Replace(url+".sha256", []byte("other"))
	if r, err := bundle.Pack(context.Background(), clone(t, lock), p.options("b.tar")); err != nil {
		t.Errorf("the content of the first use is in the cache, got %v %v", r, err)
	}
	q := newPacker(t, up)
	if _, err := bundle.Pack(context.Background(), lock, q.options("b.tar")); !errors.Is(err, bundle.ErrVerify) {
		t.Errorf("another machine that gets other content: %v", err)
	}
}

func TestPackReportsEveryFailure(t *testing.T) {
	up := startUpstream(t)
	p := newPacker(t, up)
	lock := p.mustResolve(wanted("rocky-9"))
	up.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "runc") || strings.Contains(r.URL.Path, "crictl") {
			http.Error(w, "gone", http.StatusGone)
			return true
		}
		return false
	})
	_, err := bundle.Pack(context.Background(), clone(t, lock), p.options("b.tar"))
	var partial *bundle.PartialError
	if !errors.As(err, &partial) || len(partial.Failed) != 2 {
		t.Fatalf("got %v, want two failures", err)
	}
	if errors.Is(err, bundle.ErrVerify) {
		t.Error("a missing file is no verification failure")
	}
	up.Hook(nil)
	before := len(up.Requests())
	p.pack(lock, "b.tar")
	if got := len(up.Requests()) - before; got > 4 {
		t.Errorf("second run made %d requests, want those of the two failures only", got)
	}
}

func TestT68DamagedCacheHeals(t *testing.T) {
	p := newPacker(t, startUpstream(t))
	lock := p.mustResolve(wanted("rocky-9"))
	_, want := p.pack(lock, "b.tar")
	damaged := 0
	for _, a := range lock.Artifacts {
		if a.Name != "runc" && a.Name != "chrony" && !strings.HasPrefix(a.Name, "registry.k8s.io/pause") && !strings.Contains(a.Name, "smoke") {
			continue
		}
		path := filepath.Join(p.store.Dir(), "blobs", a.Blob.Digest.Algorithm().String(), a.Blob.Digest.Encoded())
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		damaged++
	}
	if damaged != 4 {
		t.Fatalf("damaged %d blobs, want 4", damaged)
	}
	for run := 0; ; run++ {
		r, err := bundle.Pack(context.Background(), clone(t, lock), p.options("c.tar"))
		if err == nil {
			b, err := os.ReadFile(r.Path)
			if err != nil {
				t.Fatal(err)
			}
			if got := digest.FromBytes(b); got != want || run == 0 {
				t.Errorf("run %d packed %s, want %s", run, got, want)
			}
			return
		}
		if run == 3 {
			t.Fatal(err)
		}
		t.Logf("run %d: %v", run, err)
	}
}
