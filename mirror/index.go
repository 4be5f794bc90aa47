package mirror

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"strings"
)

// indexTemplate is the page for browsers: no script, no style, nothing loaded.
// html/template escapes every value: names come from the bundle.
var indexTemplate = template.Must(template.New("index").Parse(`<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>offk8s mirror</title></head>
<body>
<h1>offk8s mirror</h1>
{{range .Bundles}}<h2>{{.Lock.Name}}</h2>
<ul>
<li>Kubernetes {{.Lock.Kubernetes}}, {{.Lock.CNI}}, {{.Lock.Runtime}}</li>
<li>for {{range $i, $x := .Lock.Distros}}{{if $i}}, {{end}}{{$x}}{{end}} on {{range $i, $x := .Lock.Arches}}{{if $i}}, {{end}}{{$x}}{{end}}</li>
<li>sequence {{.Lock.Sequence}}, packed {{.Lock.Created.Format "2006-01-02 15:04 MST"}}{{if not .Lock.Expires.IsZero}}, expires {{.Lock.Expires.Format "2006-01-02"}}{{end}}</li>
<li>root {{.Root}}</li>
</ul>
{{end}}{{if .Fingerprint}}<p>Fingerprint of <a href="/ca.crt">the mirror's CA</a>: {{.Fingerprint}}</p>
{{end}}<h2>Client configuration</h2>
<pre>{{.Config}}</pre>
<h2>Images</h2>
<ul>{{range .Images}}
<li>{{.}}</li>{{end}}
</ul>
<h2>Files</h2>
<ul>{{range .Files}}
<li><a href="{{.}}">{{.}}</a></li>{{end}}
</ul>
</body>
</html>
`))

// indexPage is "/": HTML for browsers, the same as text for everybody else.
func (s *site) indexPage(base string, r *http.Request) []byte {
	if !wantsHTML(r) {
		return []byte(s.indexText(base))
	}
	var out bytes.Buffer
	err := indexTemplate.Execute(&out, map[string]any{
		"Bundles": s.bundles, "Fingerprint": s.fingerprint(), "Config": s.clientConfig(base),
		"Images": s.images, "Files": s.files,
	})
	if err != nil {
		return []byte(s.indexText(base))
	}
	return out.Bytes()
}

func (s *site) indexText(base string) string {
	var b strings.Builder
	for _, x := range s.bundles {
		l := x.Lock()
		fmt.Fprintf(&b, "offk8s mirror of %s: Kubernetes %s, %s, %s for %s on %s\n", l.Name, l.Kubernetes,
			l.CNI, l.Runtime, strings.Join(l.Distros, ", "), strings.Join(l.Arches, ", "))
		fmt.Fprintf(&b, "sequence %d, packed %s, root %s\n", l.Sequence, l.Created.Format("2006-01-02 15:04 MST"), x.Root())
	}
	fmt.Fprintf(&b, "\n%s\nimages:\n  %s\nfiles:\n  %s\n", s.clientConfig(base),
		strings.Join(s.images, "\n  "), strings.Join(s.files, "\n  "))
	// Names are input: nothing that a terminal would act on.
	return strings.Map(printable, b.String())
}

func printable(r rune) rune {
	if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 {
		return '?'
	}
	return r
}

// ClientConfig returns the ready-made client configuration that serve shows:
// the commands that make a host use this mirror under baseURL.
func (m *Mirror) ClientConfig(baseURL string) string {
	return m.site.clientConfig(strings.TrimSuffix(baseURL, "/"))
}

func (s *site) clientConfig(base string) string {
	var b strings.Builder
	curl := "curl -fsS"
	if len(s.ca) > 0 {
		curl += " --cacert " + caPath
		fmt.Fprintf(&b, "# the mirror's CA; its digest must be %s\n", s.fingerprint())
		fmt.Fprintf(&b, "mkdir -p /etc/offk8s && curl -fsSk -o %s %s/ca.crt && openssl x509 -in %s -outform der | openssl dgst -sha256\n\n", caPath, base, caPath)
	}
	if len(s.self) > 0 {
		fmt.Fprintf(&b, "# offk8s itself, into the current folder\n%s %s/install.sh | sh -eu\n\n", curl, base)
	}
	for _, distro := range s.yum {
		fmt.Fprintf(&b, "# packages of %s\n%s -o /etc/yum.repos.d/offk8s.repo %s/config/%s.repo\n\n", distro, curl, base, distro)
	}
	for _, distro := range s.apt {
		fmt.Fprintf(&b, "# packages of %s\nmkdir -p /etc/apt/keyrings\n%s -o %s %s/offk8s.asc\n", distro, curl, keyringPath, base)
		fmt.Fprintf(&b, "%s -o /etc/apt/apt.conf.d/90offk8s %s/config/%s.apt.conf\n", curl, base, distro)
		fmt.Fprintf(&b, "%s -o /etc/apt/sources.list.d/offk8s.sources %s/config/%s.sources\n\n", curl, base, distro)
	}
	if len(s.images) > 0 {
		fmt.Fprintf(&b, "# images: containerd 1.5 and later; older ones and docker: %s/config/containerd-v1.toml, %s/config/docker-daemon.json\n", base, base)
		fmt.Fprintf(&b, "%s --create-dirs -o /etc/containerd/certs.d/_default/hosts.toml %s/config/hosts.toml\n", curl, base)
		_, host, _ := strings.Cut(base, "://")
		fmt.Fprintf(&b, "# or by name from anywhere: %s/%s\n", host, s.images[0])
	}
	return b.String()
}
