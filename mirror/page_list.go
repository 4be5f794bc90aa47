package mirror

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// sumsFile is the list of checksums in each directory, as sha256sum reads it.
const sumsFile = "SHA256SUMS"

// listing is the content of a directory of URLs, such as "/files/kubernetes/".
type listing struct {
	path    string
	entries []entry // directories first, then by name
}

// entry is one line of a listing.
type entry struct {
	Name   string // "kubelet"; with a slash at its end, a directory
	URL    string // escaped
	Size   int64  // in bytes, -1 if it has none: directories and generated pages
	Digest digest.Digest
}

// Dir reports whether the entry is a directory.
func (e entry) Dir() bool { return strings.HasSuffix(e.Name, "/") }

// newListings returns the listings of the parts of the mirror that people browse,
// by path. A file of a bundle has the size and digest of its plain content.
func newListings(t *routes, pages map[string]page) map[string]*listing {
	all := map[string]*listing{}
	for name, c := range t.paths {
		size, d := c.Data.Size(), c.Digest
		if !c.Plain.IsZero() {
			size, d = c.Plain.Size, c.Plain.Digest
		}
		if !strings.HasPrefix(name, "/bundle/") {
			addListed(all, name, size, d)
		}
	}
	for name := range pages {
		if strings.Count(name, "/") > 1 && !strings.HasPrefix(name, "/bundle/") { // in a directory
			addListed(all, name, -1, "")
		}
	}
	for _, l := range all {
		slices.SortFunc(l.entries, func(a, b entry) int {
			return cmp.Or(
				cmp.Compare(strings.Count(b.Name, "/"), strings.Count(a.Name, "/")), cmp.Compare(a.Name, b.Name))
		})
	}
	return all
}

// addListed adds a path to its directory, and that to the one above if it is new.
func addListed(all map[string]*listing, name string, size int64, d digest.Digest) {
	dir, base := path.Split(strings.TrimSuffix(name, "/"))
	if strings.HasSuffix(name, "/") {
		base += "/"
	}
	if dir == "/" {
		return // the home page has the rest
	}
	l := all[dir]
	if l == nil {
		l = &listing{path: dir}
		all[dir] = l
		addListed(all, dir, -1, "")
	}
	l.entries = append(l.entries, entry{base, escaped(name), size, d})
}

// escaped returns a path as a link.
func escaped(name string) string { return (&url.URL{Path: name}).EscapedPath() }

// serveListing answers a request for a directory or for its checksums, and leads one without
// its slash there. It reports false if the mirror has no such directory.
func (m *Mirror) serveListing(w http.ResponseWriter, r *http.Request, name string) bool {
	if l := m.listings[name]; l != nil {
		m.servePage(w, r, m.pageData.list(l, m.sums(l) != ""))
		return true
	}
	if m.listings[name+"/"] != nil {
		to := url.URL{Path: name + "/", RawQuery: r.URL.RawQuery}
		w.Header().Set("Location", to.String())
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusMovedPermanently)
		return true
	}
	dir, base := path.Split(name)
	if l := m.listings[dir]; l != nil && base == sumsFile {
		if text := m.sums(l); text != "" {
			m.servePage(w, r, fixed(typeText, text))
			return true
		}
	}
	return false
}

// sums returns the checksums of all files below l. A file with another digest than
// SHA-256 is left out.
func (m *Mirror) sums(l *listing) string {
	var lines []string
	for name, c := range m.routes.paths {
		rest, below := strings.CutPrefix(name, l.path)
		d := cmp.Or(c.Plain.Digest, c.Digest)
		if below && d.Algorithm() == digest.SHA256 {
			lines = append(lines, rest+"\x00"+d.Encoded())
		}
	}
	slices.Sort(lines)
	var b strings.Builder
	for _, line := range lines {
		name, sum, _ := strings.Cut(line, "\x00")
		fmt.Fprintf(&b, "%s  %s\n", sum, name)
	}
	return b.String()
}

// list returns the page of a directory: HTML for browsers, text for others. sums
// adds a link to the checksums.
func (d *pageData) list(l *listing, sums bool) page {
	return func(base string, r *http.Request) (string, []byte) {
		if !wantsHTML(r) {
			return typeText, l.text()
		}
		v := d.view(base, r)
		v.Path, v.Entries, v.Sums = l.path, l.entries, sums
		return d.render("list", v)
	}
}

func (l *listing) text() []byte {
	var b bytes.Buffer
	for _, e := range l.entries {
		size := "-"
		if e.Size >= 0 {
			size = fmt.Sprint(e.Size)
		}
		fmt.Fprintf(&b, "%12s  %s\n", size, e.Name)
	}
	return bytes.Map(printable, b.Bytes())
}

// roots returns the directories at the top of the listings.
func roots(all map[string]*listing) []string {
	var top []string
	for name := range maps.Keys(all) {
		if strings.Count(name, "/") == 2 {
			top = append(top, name)
		}
	}
	slices.Sort(top)
	return top
}
