package mirror

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/clientconf"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

// Content types of pages.
const (
	typeText    = "text/plain; charset=utf-8"
	typeHTML    = "text/html; charset=utf-8"
	typeCSS     = "text/css; charset=utf-8"
	typeScript  = "text/x-shellscript; charset=utf-8"
	typeJSON    = "application/json"
	typeTOML    = "application/toml"
	typePEM     = "application/x-pem-file"
	typeOpenPGP = "application/pgp-keys"
	typeYAML    = "application/yaml"
)

// page generates a small response. base is the URL of the mirror as the client
// of r uses it.
type page func(base string, r *http.Request) (mediaType string, body []byte)

// pages returns all pages by path.
func (d *pageData) pages() map[string]page {
	p := map[string]page{
		"/":                          d.home,
		"/now":                       d.current,
		"/style.css":                 fixed(typeCSS, style),
		"/config/hosts.toml":         d.config(typeTOML, clientconf.Config.HostsTOML),
		"/config/containerd-v1.toml": d.config(typeTOML, d.containerdMirrors),
		"/config/registries.conf":    d.config(typeTOML, d.registriesConf),
		"/config/docker-daemon.json": d.config(typeJSON, clientconf.Config.DockerDaemon),
	}
	if len(d.ca) > 0 {
		p["/ca.crt"] = fixed(typePEM, string(d.ca))
	}
	if len(d.openPGP) > 0 {
		p["/offk8s.asc"] = fixed(typeOpenPGP, string(d.openPGP))
	}
	if len(d.binaries) > 0 {
		p["/install.sh"] = d.installScript
	}
	for path, key := range d.vendorKeys {
		p[path] = fixed(typeOpenPGP, key)
	}
	for _, distro := range d.yum {
		p["/config/"+distro+".repo"] = d.config(typeText, d.yumRepo(distro))
	}
	for _, distro := range d.apt {
		p["/config/"+distro+".sources"] = d.config(typeText, aptSources(distro))
		p["/config/"+distro+".apt.conf"] = d.config(typeText, clientconf.Config.AptConf)
	}
	for i, b := range d.bundles {
		p["/bundle/"+b.Root().Algorithm().String()+"/"+b.Root().Encoded()+inventoryFile] = inventory(b)
		if i == 0 {
			p["/bundle"+inventoryFile] = inventory(b)
		}
	}
	if len(d.charts) > 0 {
		p["/"+manifests.GroupCharts+"/index.yaml"] = d.chartIndex
	}
	return p
}

// inventoryFile lists the blobs of a bundle, for pack --since.
const inventoryFile = "/inventory.json"

func inventory(b *bundle.Bundle) page {
	return func(string, *http.Request) (string, []byte) {
		text, err := json.MarshalIndent(b.Inventory(), "", " ")
		if err != nil {
			return typeJSON, []byte("{}\n") // digests and names always encode
		}
		return typeJSON, append(text, '\n')
	}
}

// fixed returns a page that is the same for every request.
func fixed(mediaType, body string) page {
	return func(string, *http.Request) (string, []byte) { return mediaType, []byte(body) }
}

// servePage answers a request with p.
func (m *Mirror) servePage(w http.ResponseWriter, r *http.Request, p page) {
	base, err := m.baseURL(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	mediaType, body := p(base, r)
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Vary", "Accept, Accept-Language")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		// A failed write means that the client is gone.
		_, _ = w.Write(body)
	}
}

var hostPattern = strict.NewPattern(`^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$`)

// CheckURL returns an error unless s consists of a scheme, a host and an optional
// port, "https://dmz:8443" or "https://[fd00::5]:8443"; a slash may follow.
func CheckURL(s string) error {
	if !validBase(strings.TrimSuffix(s, "/")) {
		return fmt.Errorf("public URL %q: want http(s)://HOST[:PORT], with an IPv6 address in brackets", s)
	}
	return nil
}

// validBase reports whether s consists of a scheme, a host and an optional port.
// Pages write it into shell scripts and configuration files.
func validBase(s string) bool {
	host, found := strings.CutPrefix(s, "https://")
	if !found {
		host, found = strings.CutPrefix(s, "http://")
	}
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		port, err := strconv.ParseUint(host[i+1:], 10, 16)
		if err != nil || port == 0 || host[i+1] == '+' {
			return false
		}
		host = host[:i]
	}
	if literal, ok := strings.CutPrefix(host, "["); ok {
		literal, ok = strings.CutSuffix(literal, "]")
		a, err := netip.ParseAddr(literal)
		return found && ok && err == nil && a.Is6() && a.Zone() == ""
	}
	return found && hostPattern.MatchString(host)
}

// baseURL returns the URL of the mirror as the client of r uses it.
func (m *Mirror) baseURL(r *http.Request) (string, error) {
	if m.options.PublicURL != "" {
		return m.options.PublicURL, nil
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	if base := scheme + r.Host; validBase(base) {
		return base, nil
	}
	return "", fmt.Errorf("host %q is not a host name with an optional port", r.Host)
}
