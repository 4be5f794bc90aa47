package mirror

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/manifests"
)

// imageNames generates references that are near the border of the grammar.
var imageNames = rapid.Custom(func(t *rapid.T) string {
	host := rapid.SampledFrom([]string{
		"registry.example.com", "localhost", "localhost:5000", "10.0.0.9:5000", "docker.io", "", "my_registry.example.com:5000",
		"[fd00::5]:5000", "REGISTRY.example.com", "registry.example.com.", "a..b.example.com", strings.Repeat("h", 64) + ".example.com",
	}).Draw(t, "host")
	part := rapid.SampledFrom([]string{"app", "a-b", "a_b", "a__b", "a___b", "a..b", "a.b", "a--b", "-a", "a-", "App", "v2", "manifests", "blobs", "tags", strings.Repeat("p", 130)})
	path := strings.Join(rapid.SliceOfN(part, 1, 4).Draw(t, "path"), "/")
	tag := rapid.SampledFrom([]string{":1", ":v1.0.0", ":_x", ":-x", ":1+build", ":", "", ":" + strings.Repeat("t", 128), ":" + strings.Repeat("t", 129)}).Draw(t, "tag")
	if host != "" {
		path = host + "/" + path
	}
	return path + tag
})

// If pack accepts an --image, it can be sealed, opened, verified, served and pulled:
// nothing is refused for the first time behind the gap.
func TestAcceptedImagesAreServed(t *testing.T) {
	accepted := 0
	rapid.Check(t, func(rt *rapid.T) {
		name := imageNames.Draw(rt, "name")
		doc := fmt.Sprintf("apiVersion: %s\nkind: Manifest\nkubernetes: \"1.36\"\nimages: [%q]\n", manifests.APIVersion, name)
		if _, err := manifests.LoadManifest("pack.yaml", []byte(doc)); err != nil {
			return
		}
		ref, err := fetch.ParseImage(name)
		if err != nil {
			rt.Fatalf("%q: in pack.yaml, but not for the download: %v", name, err)
		}
		accepted++
		b := bundletest.New(t)
		arches := []string{"amd64", "arm64", "s390x"}
		n := rapid.IntRange(1, 3).Draw(rt, "arches")
		if rapid.Bool().Draw(rt, "single") {
			b.AddImage(t, ref.Name, "amd64")
		} else {
			b.AddIndex(t, ref.Name, arches[:n], arches[n:])
		}
		opened, err := bundle.Open(t.Context(), []string{b.Seal(t)}, bundletest.Options(b.Key))
		if err != nil {
			rt.Fatalf("%q: open: %v", name, err)
		}
		defer opened.Close()
		if err := opened.Verify(t.Context(), bundle.VerifyOptions{}); err != nil {
			rt.Fatalf("%q: verify: %v", name, err)
		}
		m, err := New([]*bundle.Bundle{opened}, Options{})
		if err != nil {
			rt.Fatalf("%q: serve: %v", name, err)
		}
		defer m.Close()
		i := strings.LastIndexByte(ref.Name, ':')
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/"+ref.Name[:i]+"/manifests/"+ref.Name[i+1:], nil))
		if w.Code != http.StatusOK {
			rt.Fatalf("%q: pull: %d %s", name, w.Code, w.Body)
		}
	})
	if accepted == 0 {
		t.Error("no name was accepted: nothing was tested")
	}
}
