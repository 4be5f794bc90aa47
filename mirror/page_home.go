package mirror

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/manifests"
)

var (
	//go:embed web/pages.html
	web embed.FS
	//go:embed web/style.css
	style string
	//go:embed web/copy.js
	copyScript string // buttons that copy commands, for browsers with script
)

// policy is the Content-Security-Policy of pages: of scripts, copyScript alone runs.
var policy = func() string {
	sum := sha256.Sum256([]byte(copyScript))
	return "default-src 'none'; style-src 'self'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
}()

// pageTemplates are the pages for browsers, without scripts or anything from other
// servers. html/template escapes every value, since names come from the bundle. They
// are parsed for the first page, since every start of the program would pay for it.
var pageTemplates = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"size":  bundle.FormatSize,
		"count": texts.count,
		"path":  func(name string) string { return escaped("/" + name) },
		"join":  func(list []string) string { return strings.Join(list, ", ") },
		"copy":  func() template.JS { return template.JS(copyScript) },
		"date":  func(t time.Time) string { return t.Format("2006-01-02 15:04 MST") },
	}).ParseFS(web, "web/pages.html"))
})

// view is the data of the templates.
type view struct {
	T     texts
	Lang  string // the parameter lang, if the request has one
	Keep  string // query that keeps it in links, "?lang=zh"
	Query string // of the search
	Roots []string

	Bundles     []bundleView
	Fingerprint string // of the CA
	Keys        []openPGPKey
	Steps       []clientStep

	Images, Files []bundle.ArtifactSummary
	Packages      []distroPackages
	Found         int

	Now *nowView // of the page /now

	// of a directory
	Path    string
	Entries []entry
	Sums    bool
}

type bundleView struct {
	bundle.Summary
	Age     string
	Expired bool
}

// distroPackages are the packages for one distribution.
type distroPackages struct {
	Distro string
	List   []bundle.ArtifactSummary
}

// maxQuery bounds the text of a search in bytes.
const maxQuery = 200

// view returns the part of a page that all pages have, and the content of the home
// page that a search selects.
func (d *pageData) view(base string, r *http.Request) view {
	v := view{Roots: d.roots, Fingerprint: d.fingerprint(), Keys: d.keys, Steps: d.steps(base)}
	v.T, v.Lang = language(r)
	if v.Lang != "" {
		v.Keep = "?lang=" + v.Lang
	}
	v.Query = strings.TrimSpace(r.URL.Query().Get("q"))
	v.Query = strings.ToValidUTF8(v.Query[:min(len(v.Query), maxQuery)], "")
	now := d.now()
	for _, s := range d.summaries {
		v.Bundles = append(v.Bundles, bundleView{s, v.T.age(s.Created, now), !s.Expires.IsZero() && s.Expires.Before(now)})
	}
	return v
}

// find fills the lists of v with everything that matches its query.
func (d *pageData) find(v *view) {
	words := strings.Fields(strings.ToLower(v.Query))
	for _, a := range d.artifacts {
		text := strings.ToLower(strings.Join([]string{a.Name, a.Version, a.Platform, a.Distro, a.Path, a.Digest.String()}, " "))
		if !containsAll(text, words) {
			continue
		}
		v.Found++
		switch manifests.ArtifactKind(a.Kind) {
		case manifests.KindImage, manifests.KindAttachment:
			v.Images = append(v.Images, a)
		case manifests.KindFile, manifests.KindChart:
			v.Files = append(v.Files, a)
		default:
			if n := len(v.Packages); n == 0 || v.Packages[n-1].Distro != a.Distro {
				v.Packages = append(v.Packages, distroPackages{Distro: a.Distro})
			}
			last := &v.Packages[len(v.Packages)-1]
			last.List = append(last.List, a)
		}
	}
}

func containsAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// render executes a template.
func (d *pageData) render(name string, v view) (string, []byte) {
	var out bytes.Buffer
	if err := pageTemplates().ExecuteTemplate(&out, name, v); err != nil {
		return typeText, []byte("the page cannot be written\n")
	}
	return typeHTML, out.Bytes()
}

func wantsHTML(r *http.Request) bool {
	return strings.Contains(strings.Join(r.Header["Accept"], ","), "text/html")
}

// home is "/": HTML for browsers, text for other clients such as curl.
func (d *pageData) home(base string, r *http.Request) (string, []byte) {
	if !wantsHTML(r) {
		return typeText, d.homeText(base)
	}
	v := d.view(base, r)
	d.find(&v)
	return d.render("home", v)
}

func (d *pageData) homeText(base string) []byte {
	var b bytes.Buffer
	for _, s := range d.summaries {
		fmt.Fprintf(&b, "offk8s mirror of %s: Kubernetes %s, %s, %s for %s on %s\n", s.Name, s.Kubernetes,
			s.CNI, s.Runtime, strings.Join(s.Distros, ", "), strings.Join(s.Arches, ", "))
		fmt.Fprintf(&b, "sequence %d, packed %s, root %s\n", s.Sequence, s.Created.Format("2006-01-02 15:04 MST"), s.Root)
	}
	fmt.Fprintf(&b, "\n%s\nimages:\n  %s\nfiles:\n  %s\n", d.clientConfig(base),
		strings.Join(d.images, "\n  "), strings.Join(d.files, "\n  "))
	if len(d.charts) > 0 {
		b.WriteString("charts:\n")
	}
	for _, a := range d.charts {
		fmt.Fprintf(&b, "  /%s/%s\n", a.Group, a.Path)
	}
	// Names come from the bundle: escape sequences must not reach a terminal.
	return bytes.Map(printable, b.Bytes())
}

func printable(r rune) rune {
	if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 {
		return '?'
	}
	return r
}
