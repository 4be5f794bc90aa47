package mirror

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/clientconf"
	"github.com/offk8s/offk8s/test/testenv"
)

// Real clients go on with the second mirror if the first is down.
func TestFirstMirrorIsDown(t *testing.T) {
	const dead = "https://127.0.0.2:1" // apt does not try an address again
	both := func(l *lab) clientconf.Config {
		return clientconf.Config{URLs: []string{dead, l.url}, CAFile: caPath}
	}
	t.Run("dnf", func(t *testing.T) {
		testenv.NeedTool(t, "dnf", "rpmbuild", "rpmsign", "gpg", "curl")
		testenv.NeedRoot(t)
		home, key := vendor(t, "vendor")
		l := yumLab(t, buildRPM(t, home), map[string]string{"vendor.asc": key})
		l.alter("/config/rocky-9.repo", func([]byte) []byte {
			repo := clientconf.YumRepo{Distro: "rocky-9", Arch: "$basearch", Keys: []string{l.url + "/offk8s.asc", l.url + "/keys/rocky-9/vendor.asc"}}
			return []byte(both(l).YumRepo(repo))
		})
		if out, err := l.dnf(t); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("apt", func(t *testing.T) {
		testenv.NeedTool(t, "apt-get", "dpkg", "dpkg-deb", "gpg", "curl")
		l, _ := aptLab(t)
		list := l.write(t, "mirrors", both(l).AptMirrors("debian-12"))
		l.alter("/config/debian-12.sources", func([]byte) []byte { return []byte(both(l).AptSources("debian-12", keyringPath, list)) })
		if out, err := l.apt(t); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("containerd", func(t *testing.T) {
		testenv.NeedTool(t, "containerd", "ctr", "curl")
		testenv.NeedRoot(t)
		l := smallLab(t)
		l.alter("/config/hosts.toml", func([]byte) []byte { return []byte(both(l).HostsTOML()) })
		l.config(t, "/config/hosts.toml", "certs.d/_default/hosts.toml")
		if out, err := startContainerd(t, noCRI, t.TempDir()).fetch(l, bundletest.PauseImage); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// containerd takes content from a registry on its host that has the images of other nodes, as the
// addon spegel is one, also while no mirror answers. It asks that for digests alone, compares
// them, and goes on to the mirror without it. The registry is not
// Spegel, whose module cannot be had.
func TestPeer(t *testing.T) {
	testenv.NeedTool(t, "curl")
	testenv.NeedRoot(t)
	forContainerds(t, func(t *testing.T, _ string) {
		b := smallBundle(t)
		l, p := newLab(t, b), newPeer(t, b)
		config := func(mirror string) string {
			text := clientconf.Config{URLs: []string{mirror}, CAFile: l.ca, Peer: p.URL}.HostsTOML()
			return l.write(t, "certs.d/_default/hosts.toml", text)
		}
		config(l.url)
		c := startContainerd(t, criConfig+fmt.Sprintf("[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = %q\n", filepath.Join(l.dir, "certs.d")), t.TempDir())
		if err := c.pull(t, bundletest.PauseImage); err != nil {
			t.Error(err)
		}
		if asked := p.seen(); len(asked) == 0 || strings.Contains(strings.Join(asked, " "), "3.10") {
			t.Errorf("for %s the peer was asked %v, want digests", bundletest.PauseImage, asked)
		}

		manifest, layer := digestsOf(t, b, bundletest.CoreDNSImage)
		byDigest := "registry.k8s.io/coredns@" + manifest.String()
		config("https://127.0.0.2:1")
		p.altered = layer.Encoded()
		if err := c.pull(t, byDigest); err == nil || !strings.Contains(err.Error(), layer.String()) {
			t.Errorf("a peer that sends other bytes of %s: %v", layer, err)
		}
		p.altered = ""
		// containerd would go on with the bad bytes until its next garbage collection, which the end of a lease brings.
		for _, args := range [][]string{{"create", "--id", "collect"}, {"delete", "--sync", "collect"}} {
			if out, err := c.ctr(append([]string{"--namespace", "k8s.io", "leases"}, args...)...); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}
		if err := c.pull(t, byDigest); err != nil {
			t.Errorf("without a mirror: %v", err)
		}
		if asked := strings.Join(p.seen(), " "); !strings.Contains(asked, layer.Encoded()) {
			t.Errorf("the peer was asked %s, want the layer", asked)
		}

		p.Close()
		config(l.url)
		if err := c.pull(t, etcdImage); err != nil {
			t.Errorf("without the peer: %v", err)
		}
	})
}

// peer is a registry that knows the content of a bundle by digest.
type peer struct {
	*httptest.Server
	altered string // end of the path of content that gets other bytes
	mu      sync.Mutex
	asked   []string
}

func newPeer(t *testing.T, b *bundletest.Builder) *peer {
	t.Helper()
	p, m := &peer{}, mirrorOf(t, Options{}, openBundle(t, b))
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, r.URL.Path)
		p.mu.Unlock()
		answer := httptest.NewRecorder()
		m.ServeHTTP(answer, r)
		body := answer.Body.Bytes()
		if p.altered != "" && strings.HasSuffix(r.URL.Path, p.altered) && len(body) > 0 {
			body = flip(body)
		}
		for k, v := range answer.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(body)
	}))
	t.Cleanup(p.Close)
	return p
}

// seen returns the paths that were asked for since the last call.
func (p *peer) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	p.asked = nil
	return asked
}
