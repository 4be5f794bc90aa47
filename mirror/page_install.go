package mirror

import (
	"bytes"
	_ "embed"
	"net/http"
	"sync"
	"text/template"
)

//go:embed install.sh.tmpl
var installText string

// installTemplate is /install.sh. Its values have no special meaning within
// single quotes: validBase checked base, shellSafe the paths, and the CA was
// encoded again.
var installTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("install.sh").Parse(installText))
})

func (d *pageData) installScript(base string, _ *http.Request) (string, []byte) {
	var b bytes.Buffer
	err := installTemplate().Execute(&b, map[string]any{
		"Base": base, "Binaries": d.binaries, "CA": string(d.ca), "Passwords": d.passwords,
	})
	if err != nil {
		return typeScript, []byte("echo 'install.sh: the mirror cannot write this script' >&2; exit 1\n")
	}
	return typeScript, b.Bytes()
}
