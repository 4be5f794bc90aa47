package mirror

import (
	_ "embed"
	"strings"
	"text/template"
)

//go:embed install.sh.tmpl
var installText string

// installTemplate is /install.sh. Its values were checked to mean themselves
// inside single quotes: base by validBase, paths by shellSafe, the CA re-encoded.
var installTemplate = template.Must(template.New("install.sh").Parse(installText))

func (s *site) installScript(base string) string {
	var b strings.Builder
	err := installTemplate.Execute(&b, map[string]any{
		"Base": base, "Binaries": s.self, "CA": string(s.ca),
	})
	if err != nil {
		return "echo 'install.sh: the mirror cannot write this script' >&2; exit 1\n"
	}
	return b.String()
}
