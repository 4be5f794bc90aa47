package bundle_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// workshop is the environment of the examples: an upstream that runs in this
// process, and a directory for everything else.
type workshop struct {
	dir     string
	catalog *catalog.Catalog
	client  *fetch.Client
	store   *store.Store
	self    map[string]string // offk8s binaries by architecture
	close   func()
}

func newWorkshop() workshop {
	dir, err := os.MkdirTemp("", "example")
	must(err)
	up, err := upstreamtest.Start(nil)
	must(err)
	w := workshop{dir: dir, self: map[string]string{"amd64": filepath.Join(dir, "offk8s")}}
	must(os.WriteFile(w.self["amd64"], upstreamtest.SelfBinary("amd64"), 0o755))
	w.catalog, err = up.Catalog(filepath.Join(dir, "catalog"))
	must(err)
	w.client, err = fetch.NewClient(fetch.Options{Rewrites: up.Rewrites()})
	must(err)
	w.store, err = store.Open(filepath.Join(dir, "store"))
	must(err)
	w.close = func() {
		up.Close()
		must(w.store.Close())
		must(os.RemoveAll(dir))
	}
	return w
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// resolve returns the Lock of a small bundle.
func (w workshop) resolve(ctx context.Context) *manifests.Lock {
	m := manifests.Manifest{Kubernetes: "1.36", Arches: []string{"amd64"}, Distros: []string{"rocky-9"}}
	lock, err := bundle.Resolve(ctx, m, w.catalog, bundle.ResolveOptions{
		Client: w.client, Store: w.store, Created: bundletest.Created,
		SelfBinaries: w.self, Offk8sVersion: "0.1.0",
	})
	must(err)
	return lock
}

func ExampleResolve() {
	ctx := context.Background()
	w := newWorkshop()
	defer w.close()

	m := manifests.Manifest{
		Kubernetes: "1.36",
		Arches:     []string{"amd64"},
		Distros:    []string{"rocky-9"},
	}
	lock, err := bundle.Resolve(ctx, m, w.catalog, bundle.ResolveOptions{
		Client: w.client, Store: w.store, Created: bundletest.Created,
		SelfBinaries: w.self, Offk8sVersion: "0.1.0",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(lock.Name, lock.Kubernetes, lock.CNI, lock.Runtime)
	first := lock.Artifacts[0]
	fmt.Println(first.Kind, first.Name, first.Platform, first.Source.Trust)
	// Output:
	// kubernetes-1.36 1.36.3 flannel containerd
	// file bandwidth linux/amd64 catalog
}

func ExamplePack() {
	ctx := context.Background()
	w := newWorkshop()
	defer w.close()
	key, err := trust.GenerateKeys(bundletest.Created)
	if err != nil {
		log.Fatal(err)
	}

	result, err := bundle.Pack(ctx, w.resolve(ctx), bundle.PackOptions{
		Client: w.client, Store: w.store, Key: key, SelfBinaries: w.self, Output: filepath.Join(w.dir, "b.tar"),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(filepath.Base(result.Path), result.Counts[manifests.KindImage], "images")
	// Output:
	// b.tar 5 images
}

func ExampleOpen() {
	ctx := context.Background()
	w := newWorkshop()
	defer w.close()
	key, err := trust.GenerateKeys(bundletest.Created)
	if err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(w.dir, "b.tar")
	_, err = bundle.Pack(ctx, w.resolve(ctx), bundle.PackOptions{
		Client: w.client, Store: w.store, Key: key, SelfBinaries: w.self, Output: path,
	})
	if err != nil {
		log.Fatal(err)
	}

	b, err := bundle.Open(ctx, []string{path}, bundle.OpenOptions{Keys: []trust.PublicKey{key.Public()}})
	if err != nil {
		log.Fatal(err) // of class ErrVerify or ErrPolicy, or an I/O error
	}
	defer b.Close()
	if err := b.Verify(ctx, bundle.VerifyOptions{}); err != nil {
		log.Fatal(err)
	}
	_, signed := b.Signer()
	fmt.Println(b.Lock().Name, signed)
	// Output:
	// kubernetes-1.36 true
}
