package mirror

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/test/testenv"
)

var hrefs = regexp.MustCompile(`href="([^"]+)"`)

// Every link of every page leads to an answer, and the pages reach every file.
func TestPagesLinkToEverything(t *testing.T) {
	m := configured(t, Options{PublicURL: "https://dmz", CA: testCA})
	seen, queue := map[string]bool{}, []string{"/"}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		r := get(m, "GET", at, "Accept", "text/html")
		text := body(t, r)
		if r.StatusCode != 200 {
			t.Errorf("%s: status %d", at, r.StatusCode)
		}
		if r.Header.Get("Content-Type") != typeHTML {
			continue
		}
		base, err := url.Parse("http://mirror" + at)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range hrefs.FindAllStringSubmatch(text, -1) {
			u, err := base.Parse(strings.ReplaceAll(link[1], "&#43;", "+"))
			if err != nil {
				t.Fatalf("%s: %q: %v", at, link[1], err)
			}
			if u.Scheme == "http" && !seen[u.Path] {
				seen[u.Path] = true
				queue = append(queue, u.Path)
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(m.routes.paths)) {
		if !seen[path] && !strings.HasPrefix(path, "/bundle/") {
			t.Errorf("no page leads to %s", path)
		}
	}
	if !seen["/config/hosts.toml"] || !seen["/keys/rocky-9/rocky-9.asc"] || !seen["/style.css"] {
		t.Errorf("no page leads to the configuration, to the keys or to the style: %v", seen)
	}
}

// The checksums are those of what a client receives.
func TestSums(t *testing.T) {
	s := newSample(t)
	m := mirrorOf(t, Options{}, s.Bundle)
	want := fmt.Sprintf("%x  cni/cni-plugins.tgz\n%x  kubernetes/1.36.3/amd64/kubelet\n", sha256.Sum256([]byte("cni plugins")), sha256.Sum256(s.kubelet))
	if got := body(t, get(m, "GET", "/files/SHA256SUMS")); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for path, status := range map[string]int{
		"/files/kubernetes/1.36.3/SHA256SUMS": 200, "/yum/rocky-9/x86_64/SHA256SUMS": 200, "/apt/SHA256SUMS": 200,
		"/config/SHA256SUMS": 404, "/SHA256SUMS": 404, "/bundle/SHA256SUMS": 404, "/files/SHA256SUMS/": 404,
	} {
		if r := get(m, "GET", path); r.StatusCode != status {
			t.Errorf("%s: status %d, want %d", path, r.StatusCode, status)
		}
	}
	testenv.NeedTool(t, "sha256sum")
	dir := t.TempDir()
	for name, content := range map[string]string{"cni/cni-plugins.tgz": "cni plugins", "kubernetes/1.36.3/amd64/kubelet": string(s.kubelet), "SHA256SUMS": want} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sha256sum", "-c", "--strict", "SHA256SUMS")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
}

// A search finds what has all its words, in every kind of content.
func TestSearch(t *testing.T) {
	m := configured(t, Options{})
	tests := []struct {
		query string
		want  []string // and no other of these
	}{
		{"PAUSE", []string{"registry.k8s.io/pause:3.10"}},
		{"kubelet 1.36.3", []string{"/files/kubernetes/1.36.3/amd64/kubelet"}},
		{"chrony", []string{"/yum/rocky-9/x86_64/", "/apt/debian-12/"}},
		{"chrony rocky", []string{"/yum/rocky-9/x86_64/"}},
		{m.routes.paths[plugins].Digest.Encoded(), []string{plugins}},
		{"nothing at all", nil},
	}
	all := map[string]bool{}
	for _, tt := range tests {
		for _, w := range tt.want {
			all[w] = true
		}
	}
	for _, tt := range tests {
		page := body(t, get(m, "GET", "/?q="+url.QueryEscape(tt.query), "Accept", "text/html"))
		_, found, _ := strings.Cut(page, "</form>")
		for w := range all {
			link := w
			if strings.HasSuffix(w, "/") {
				link = `href="` + w + "P" // a package, not the directory
				if strings.HasPrefix(w, "/apt/") {
					link = `href="` + w + "pool"
				}
			}
			if got := strings.Contains(found, link); got != slices.Contains(tt.want, w) {
				t.Errorf("%q: %s found: %v", tt.query, w, got)
			}
		}
	}
}

func TestLanguages(t *testing.T) {
	for key := range languages["en"] {
		if languages["zh"][key] == "" {
			t.Errorf("no Chinese for %q", key)
		}
	}
	if len(languages["zh"]) != len(languages["en"]) {
		t.Error("the languages have different texts")
	}
	b, err := web.ReadFile("web/pages.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`\.T\.(\w+)`).FindAllStringSubmatch(string(b), -1) {
		if languages["en"][name[1]] == "" {
			t.Errorf("pages.html uses the text %q, which does not exist", name[1])
		}
	}
	for _, tt := range []struct{ query, accept, want string }{
		{"", "", "en"},
		{"", "zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans"},
		{"", "en-US,en;q=0.9,zh;q=0.8", "en"},
		{"", "fr, zh;q=0.3, en;q=0.2", "zh-Hans"},
		{"", "de", "en"},
		{"", "zh;q=x, en;q=0.1", "en"},
		{"lang=zh", "en", "zh-Hans"},
		{"lang=en", "zh", "en"},
		{"lang=xx", "zh", "zh-Hans"},
	} {
		r, err := http.NewRequest(http.MethodGet, "http://m/?"+tt.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Language", tt.accept)
		if got, _ := language(r); got["code"] != tt.want {
			t.Errorf("%q, %q: %s, want %s", tt.query, tt.accept, got["code"], tt.want)
		}
	}
}
