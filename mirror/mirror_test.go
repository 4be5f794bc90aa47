package mirror

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
)

func TestRequests(t *testing.T) {
	s := newSample(t)
	m := mirrorOf(t, Options{}, s.Bundle)
	kubelet := "/files/kubernetes/1.36.3/amd64/kubelet"
	kubeletTag := `"` + digest.FromBytes(s.kubelet).String() + `"`
	storedTag := `"` + digest.FromBytes(s.stored).String() + `"`
	tests := []struct {
		name, path string
		header     []string
		status     int
		want       map[string]string
		body       string
	}{
		{
			name: "file", path: "/files/cni/cni-plugins.tgz", status: 200, body: "cni plugins",
			want: map[string]string{"Content-Type": "application/octet-stream", "Content-Length": "11", "Accept-Ranges": "bytes", "X-Content-Type-Options": "nosniff"},
		},
		{
			name: "range", path: "/files/cni/cni-plugins.tgz", header: []string{"Range", "bytes=4-6"}, status: 206, body: "plu",
			want: map[string]string{"Content-Range": "bytes 4-6/11", "Content-Length": "3"},
		},
		{
			name: "many ranges are the whole", path: "/files/cni/cni-plugins.tgz",
			header: []string{"Range", "bytes=0-0,2-3"}, status: 200, body: "cni plugins",
		},
		{
			name: "range behind the end", path: "/files/cni/cni-plugins.tgz", header: []string{"Range", "bytes=11-"}, status: 416,
			want: map[string]string{"Content-Range": "bytes */11"},
		},
		{
			name: "resume of another version is the whole", path: "/files/cni/cni-plugins.tgz",
			header: []string{"Range", "bytes=4-", "If-Range", `"sha256:00"`}, status: 200, body: "cni plugins",
		},
		{
			name: "not modified", path: "/files/cni/cni-plugins.tgz",
			header: []string{"If-None-Match", `"x", W/"` + digest.FromString("cni plugins").String() + `"`}, status: 304,
		},
		{
			name: "another version expected", path: "/files/cni/cni-plugins.tgz", header: []string{"If-Match", `"x"`}, status: 412,
		},
		{
			name: "compressed for those who accept it", path: kubelet, header: []string{"Accept-Encoding", "gzip, zstd"},
			status: 200, body: string(s.stored),
			want: map[string]string{"Content-Encoding": "zstd", "Etag": storedTag, "Vary": "Accept-Encoding"},
		},
		{
			name: "range of the compressed form", path: kubelet, header: []string{"Accept-Encoding", "zstd", "Range", "bytes=-5"},
			status: 206, body: string(s.stored[len(s.stored)-5:]),
			want: map[string]string{"Content-Encoding": "zstd"},
		},
		{
			name: "decoded for the others", path: kubelet, status: 200, body: string(s.kubelet),
			want: map[string]string{"Content-Encoding": "", "Content-Length": "320000", "Etag": kubeletTag, "Accept-Ranges": "bytes"},
		},
		{
			name: "range of the decoded form", path: kubelet, header: []string{"Range", "bytes=319998-"}, status: 206, body: "t ",
			want: map[string]string{"Content-Encoding": "", "Content-Range": "bytes 319998-319999/320000", "Etag": kubeletTag},
		},
		{
			name: "zstd refused by weight", path: kubelet, header: []string{"Accept-Encoding", "zstd;q=0"}, status: 200, body: string(s.kubelet),
		},
		{
			name: "rpm", path: "/yum/rocky-9/x86_64/Packages/c/chrony-4.3-1.el9~1^a+b.x86_64.rpm", status: 200, body: "an RPM",
			want: map[string]string{"Content-Type": "application/x-rpm"},
		},
		{name: "repomd", path: "/yum/rocky-9/x86_64/repodata/repomd.xml", status: 200, body: "<repomd/>"},
		{name: "InRelease", path: "/apt/debian-12/dists/offk8s/InRelease", status: 200, body: "signed"},
		{name: "index", path: "/bundle/index.json", status: 200, body: string(s.HeadFile(bundle.MemberIndex))},
		{name: "index by root", path: "/bundle/sha256/" + s.Root().Encoded() + "/index.json", status: 200, body: string(s.HeadFile(bundle.MemberIndex))},
		{name: "inventory", path: "/bundle/inventory.json", status: 200, body: inventoryOf(t, s.Bundle)},
		{name: "inventory by root", path: "/bundle/sha256/" + s.Root().Encoded() + "/inventory.json", status: 200, body: inventoryOf(t, s.Bundle)},
		{name: "signature", path: "/bundle/index.json.sig", status: 200, body: string(s.HeadFile(bundle.MemberSignature))},
		{
			name: "blob as stored", path: "/bundle/blobs/sha256/" + digest.FromBytes(s.stored).Encoded(),
			header: []string{"Accept-Encoding", "zstd"}, status: 200, body: string(s.stored),
			want: map[string]string{"Content-Encoding": "", "Cache-Control": "public, max-age=31536000, immutable"},
		},
		{name: "unknown blob", path: "/bundle/blobs/sha256/" + s.absent.Encoded(), status: 404},
		{name: "listing", path: "/files/", status: 200, body: "           -  cni/\n           -  kubernetes/\n"},
		{name: "listing without slash", path: "/files", status: 301, want: map[string]string{"Location": "/files/"}},
		{name: "with a question", path: "/files/kubernetes?lang=zh", status: 301, want: map[string]string{"Location": "/files/kubernetes/?lang=zh"}},
		{name: "no listing of the bundle", path: "/bundle/", status: 404},
		{name: "no directory", path: "/files/cni/none/", status: 404},
		{name: "health", path: "/healthz", status: 200, body: "ok\n"},
		{name: "OpenPGP key", path: "/offk8s.asc", status: 200, body: string(s.OpenPGPKey())},
		{name: "no CA given", path: "/ca.crt", status: 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := get(m, "GET", tt.path, tt.header...)
			if r.StatusCode != tt.status {
				t.Errorf("status %d, want %d", r.StatusCode, tt.status)
			}
			for name, want := range tt.want {
				if got := r.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if got := body(t, r); tt.body != "" && got != tt.body {
				t.Errorf("body of %d bytes, want %d: %.60q", len(got), len(tt.body), got)
			}
			head := get(m, "HEAD", tt.path, tt.header...)
			if head.StatusCode != tt.status {
				t.Errorf("HEAD: status %d, want %d", head.StatusCode, tt.status)
			}
			for _, name := range []string{"Content-Length", "Etag", "Content-Encoding", "Content-Range", "Content-Type"} {
				if head.Header.Get(name) != r.Header.Get(name) {
					t.Errorf("HEAD: %s %q, GET has %q", name, head.Header.Get(name), r.Header.Get(name))
				}
			}
			if got := body(t, head); got != "" && tt.status < 400 {
				t.Errorf("HEAD has a body: %q", got)
			}
		})
	}
}

// inventoryOf returns what offk8s inventory prints of b.
func inventoryOf(t *testing.T, b *bundle.Bundle) string {
	t.Helper()
	text, err := json.MarshalIndent(b.Inventory(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

// allPaths is one path of every kind of route, and one of nothing.
func allPaths(s *sample) []string {
	return []string{
		"/", "/healthz", "/offk8s.asc", "/config/hosts.toml", "/config/rocky-9.repo", "/config/debian-12.sources",
		"/files/cni/cni-plugins.tgz", "/yum/rocky-9/x86_64/repodata/repomd.xml", "/apt/debian-12/dists/offk8s/InRelease",
		"/bundle/index.json", "/bundle/blobs/sha256/" + s.index.Digest.Encoded(), "/nothing",
		"/v2", "/v2/", "/v2/_catalog", "/v2/pause/tags/list", "/v2/pause/manifests/3.10", "/v2/pause/manifests/new",
		"/v2/pause/blobs/uploads/", "/v2/pause/blobs/uploads/1", "/v2/pause/blobs/" + s.manifest.Digest.String(),
		"/v2/pause/referrers/" + s.index.Digest.String(), "*", "",
	}
}

func TestT30WritesAreRefused(t *testing.T) {
	s := newSample(t)
	m := mirrorOf(t, Options{}, s.Bundle)
	before, err := os.Stat(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "MKCOL", "get", ""} {
		for _, path := range allPaths(s) {
			if method == "" {
				continue // net/http reads an empty method as GET
			}
			r := get(m, method, path)
			if r.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: status %d, want 405", method, path, r.StatusCode)
			}
			if got := r.Header.Get("Allow"); got != "GET, HEAD" {
				t.Errorf("%s %s: Allow %q", method, path, got)
			}
			if got := body(t, r); !strings.Contains(got, `"code":"UNSUPPORTED"`) {
				t.Errorf("%s %s: body %q", method, path, got)
			}
		}
	}
	after, err := os.Stat(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	if before.Size() != after.Size() || !before.ModTime().Equal(after.ModTime()) {
		t.Error("the bundle was written to")
	}
}

func TestConflictsBetweenBundles(t *testing.T) {
	build := func(layer, content string, more ...string) *bundle.Bundle {
		b := bundletest.New(t)
		b.AddFile(t, "kubelet", "a/kubelet", []byte(content), false)
		for _, path := range more {
			b.AddFile(t, path, path, []byte("more"), false)
		}
		b.AddImage(t, "registry.k8s.io/pause:3.10", layer)
		return openBundle(t, b)
	}
	one, two, same := build("amd64", "one"), build("arm64", "two"), build("amd64", "one", "b/kubelet")
	_, err := New([]*bundle.Bundle{one, two}, Options{})
	if err == nil {
		t.Fatal("two bundles with different content under one name were accepted")
	}
	for _, want := range []string{"/files/a/kubelet", "registry.k8s.io/pause:3.10", one.Root().String(), two.Root().String()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not name %q: %v", want, err)
		}
	}
	m := mirrorOf(t, Options{}, one, same)
	for path, want := range map[string]string{
		"/files/a/kubelet": "one", "/files/b/kubelet": "more",
		"/bundle/index.json": string(one.HeadFile(bundle.MemberIndex)),
		"/bundle/sha256/" + same.Root().Encoded() + "/index.json": string(same.HeadFile(bundle.MemberIndex)),
	} {
		if got := body(t, get(m, "GET", path)); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name string
		// change alters an open bundle: Open refuses such names itself.
		change func(*sample)
		want   string
		o      Options
	}{
		{"a file named like the registry", func(s *sample) { s.Files()[0].Group = "v2" }, "cannot be served", Options{}},
		{"a traversal", func(s *sample) { s.Files()[0].Path = "../x" }, "cannot be served", Options{}},
		{"a bad image name", func(s *sample) { s.Images()[0].Name = "registry.k8s.io/Pause:1" }, `repository "Pause"`, Options{}},
		{"a damaged manifest", func(s *sample) { damage(t, s.Bundle, s.manifest.Digest) }, "content has digest", Options{}},
		{"a public URL with a path", func(*sample) {}, "public URL", Options{PublicURL: "https://dmz/x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSample(t)
			tt.change(s)
			if _, err := New([]*bundle.Bundle{s.Bundle}, tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	if _, err := New(nil, Options{}); err == nil {
		t.Error("a mirror of nothing was made")
	}
}
