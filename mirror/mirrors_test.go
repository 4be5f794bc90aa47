package mirror

import (
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
