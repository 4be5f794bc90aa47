package mirror

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"strings"
)

// homeTemplate is the home page for browsers, without scripts, styles or links to
// other servers. html/template escapes every value, since names come from the
// bundle.
var homeTemplate = template.Must(template.New("home").Parse(`<!doctype html>
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
<p>{{.Note}}</p>
<ul>{{range .Files}}
<li><a href="{{.}}">{{.}}</a></li>{{end}}
</ul>
</body>
</html>
`))

// filesNote tells users why a download cannot be continued.
const filesNote = "a file stored compressed has no ranges: curl -C - fails, start such a download again"

// home is "/": HTML for browsers, text for other clients such as curl.
func (d *pageData) home(base string, r *http.Request) (string, []byte) {
	if !strings.Contains(strings.Join(r.Header["Accept"], ","), "text/html") {
		return typeText, d.homeText(base)
	}
	var out bytes.Buffer
	err := homeTemplate.Execute(&out, map[string]any{
		"Bundles": d.bundles, "Fingerprint": d.fingerprint(), "Config": d.clientConfig(base),
		"Images": d.images, "Files": d.files, "Note": filesNote,
	})
	if err != nil {
		return typeText, d.homeText(base)
	}
	return typeHTML, out.Bytes()
}

func (d *pageData) homeText(base string) []byte {
	var b bytes.Buffer
	for _, x := range d.bundles {
		l := x.Lock()
		fmt.Fprintf(&b, "offk8s mirror of %s: Kubernetes %s, %s, %s for %s on %s\n", l.Name, l.Kubernetes,
			l.CNI, l.Runtime, strings.Join(l.Distros, ", "), strings.Join(l.Arches, ", "))
		fmt.Fprintf(&b, "sequence %d, packed %s, root %s\n", l.Sequence, l.Created.Format("2006-01-02 15:04 MST"), x.Root())
	}
	fmt.Fprintf(&b, "\n%s\nimages:\n  %s\nfiles (%s):\n  %s\n", d.clientConfig(base),
		strings.Join(d.images, "\n  "), filesNote, strings.Join(d.files, "\n  "))
	// Names come from the bundle: escape sequences must not reach a terminal.
	return bytes.Map(printable, b.Bytes())
}

func printable(r rune) rune {
	if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 {
		return '?'
	}
	return r
}
