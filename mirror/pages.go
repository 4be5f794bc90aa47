package mirror

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/offk8s/offk8s/bundle/clientconf"
)

const (
	typeText = "text/plain; charset=utf-8"
	typeHTML = "text/html; charset=utf-8"
)

// page makes a small generated answer. base is the mirror's URL for the client.
type page struct {
	mediaType string
	body      func(base string, r *http.Request) []byte
}

// fixed is a page that does not depend on the request.
func fixed(mediaType string, body []byte) page {
	return page{mediaType, func(string, *http.Request) []byte { return body }}
}

// rendered is a page that depends on the base URL alone.
func rendered(mediaType string, f func(base string) string) page {
	return page{mediaType, func(base string, _ *http.Request) []byte { return []byte(f(base)) }}
}

// configured is a page of client configuration.
func (s *site) configured(mediaType string, f func(clientconf.Config) string) page {
	return rendered(mediaType, func(base string) string { return f(s.clientConf(base)) })
}

// clientConf describes the mirror as a client at base sees it.
func (s *site) clientConf(base string) clientconf.Config {
	c := clientconf.Config{URL: base}
	if len(s.ca) > 0 {
		c.CAFile = caPath
	}
	return c
}

// yumRepo is the .repo file of a distro, for hosts of any architecture.
func (s *site) yumRepo(c clientconf.Config, distro string) string {
	keys := []string{c.URL + "/offk8s.asc"}
	for _, path := range s.keys[distro] {
		keys = append(keys, c.URL+path)
	}
	return c.YumRepo(clientconf.YumRepo{Distro: distro, Arch: "$basearch", Keys: keys})
}

// pages returns all generated pages by path.
func (s *site) pages() map[string]page {
	p := map[string]page{
		"/":                          {"", s.indexPage},
		"/healthz":                   fixed(typeText, []byte("ok\n")),
		"/config/hosts.toml":         s.configured("application/toml", clientconf.Config.HostsTOML),
		"/config/docker-daemon.json": s.configured("application/json", clientconf.Config.DockerDaemon),
		"/config/containerd-v1.toml": s.configured("application/toml", func(c clientconf.Config) string {
			return c.ContainerdMirrors(s.hosts)
		}),
	}
	if len(s.ca) > 0 {
		p["/ca.crt"] = fixed("application/x-pem-file", s.ca)
	}
	if len(s.openPGP) > 0 {
		p["/offk8s.asc"] = fixed("application/pgp-keys", s.openPGP)
	}
	if len(s.self) > 0 {
		p["/install.sh"] = rendered("text/x-shellscript; charset=utf-8", s.installScript)
	}
	for path, key := range s.vendor {
		p[path] = fixed("application/pgp-keys", []byte(key))
	}
	for _, distro := range s.yum {
		p["/config/"+distro+".repo"] = s.configured(typeText, func(c clientconf.Config) string { return s.yumRepo(c, distro) })
	}
	for _, distro := range s.apt {
		p["/config/"+distro+".sources"] = s.configured(typeText, func(c clientconf.Config) string { return c.AptSources(distro, keyringPath) })
		p["/config/"+distro+".apt.conf"] = s.configured(typeText, clientconf.Config.AptConf)
	}
	return p
}

// servePage answers with a generated page.
func (m *Mirror) servePage(w http.ResponseWriter, r *http.Request, p page) {
	base, err := m.site.base(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	body := p.body(base, r)
	mediaType := p.mediaType
	h := w.Header()
	if mediaType == "" {
		mediaType = typeText
		h.Set("Vary", "Accept")
		if bytes.HasPrefix(body, []byte("<!doctype html>")) {
			mediaType = typeHTML
		}
	}
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		// A failed write means that the client went away; there is nobody to tell.
		_, _ = w.Write(body)
	}
}

// wantsHTML reports whether a browser asks; curl and friends say */*.
func wantsHTML(r *http.Request) bool {
	return strings.Contains(strings.Join(r.Header["Accept"], ","), "text/html")
}
