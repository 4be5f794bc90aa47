package yum

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/bundle/metadata"
)

// modules are the module streams of a repository (EL8): its modules.yaml as far as it is
// needed (https://github.com/fedora-modularity/libmodulemd, yaml_specs).
type modules struct {
	streams  []moduleStream
	defaults map[string]string // streams that are active without the user's choice, by module
}

// moduleStream is one build of a stream of a module.
type moduleStream struct {
	module, stream string
	requires       map[string][]string // streams by module; none means any
	artifacts      []string            // "name-epoch:version-release.arch"
}

// maxModuleLine is the longest line of modules.yaml.
const maxModuleLine = 1 << 20

// readModules reads modules.yaml, without its texts and profiles.
func readModules(content io.Reader) (modules, error) {
	m := modules{defaults: map[string]string{}}
	var budget metadata.Budget
	var doc moduleDocument
	lines := bufio.NewScanner(content)
	lines.Buffer(nil, maxModuleLine)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), " \r")
		if line == "---" || line == "..." {
			m.add(doc)
			doc = moduleDocument{}
			continue
		}
		if err := budget.Keep(doc.read(line)); err != nil {
			return modules{}, err
		}
	}
	m.add(doc)
	if err := lines.Err(); err != nil {
		return modules{}, err
	}
	return m, nil
}

// add adds the stream or the default that a document describes. Other documents
// (translations, obsoletes) are ignored.
func (m *modules) add(d moduleDocument) {
	switch d.kind {
	case "modulemd":
		m.streams = append(m.streams, d.moduleStream)
	case "modulemd-defaults":
		if d.module != "" && d.stream != "" {
			m.defaults[d.module] = d.stream
		}
	}
}

// moduleDocument reads one document line by line. modules.yaml is written by programs, in
// YAML's block style with lists in either style, and has megabytes.
type moduleDocument struct {
	moduleStream
	kind string
	path []yamlKey // of the last key
	// text is the least indentation of the lines of a text in several lines, 0 outside of one.
	text int
}

type yamlKey struct {
	indent int
	name   string
}

// read reads one line and returns the bytes that it keeps.
func (d *moduleDocument) read(line string) int {
	content := strings.TrimLeft(line, " ")
	indent := len(line) - len(content)
	if content == "" || content[0] == '#' || d.text > 0 && indent >= d.text {
		return 0
	}
	d.text = 0
	item := false
	for strings.HasPrefix(content, "- ") {
		item = true
		rest := strings.TrimLeft(content[1:], " ")
		indent += len(content) - len(rest)
		content = rest
	}
	key, value, isKey := strings.Cut(content+" ", ": ")
	if isKey && !strings.ContainsAny(key, `"'[{`) {
		d.path = slices.DeleteFunc(d.path, func(k yamlKey) bool { return k.indent >= indent })
		d.path = append(d.path, yamlKey{indent, key})
		value = strings.TrimSpace(value)
		if strings.HasPrefix(value, "|") || strings.HasPrefix(value, ">") {
			d.text = indent + 1
			return 0
		}
		return d.set(value)
	}
	if item {
		return d.set(content)
	}
	return 0 // the rest of a text that started on the line of its key
}

// set uses the value of the last key, or one item of its list.
func (d *moduleDocument) set(value string) int {
	names := make([]string, len(d.path))
	for i, k := range d.path {
		names[i] = k.name
	}
	switch path := strings.Join(names, "/"); {
	case path == "document":
		d.kind = scalar(value)
	case path == "data/name", path == "data/module":
		d.module = scalar(value)
	case path == "data/stream":
		d.stream = scalar(value)
	case path == "data/artifacts/rpms":
		d.artifacts = append(d.artifacts, scalars(value)...)
	case strings.HasPrefix(path, "data/dependencies/requires/"):
		if d.requires == nil {
			d.requires = map[string][]string{}
		}
		module := names[len(names)-1]
		d.requires[module] = append(d.requires[module], scalars(value)...)
	default:
		return 0
	}
	return len(value) + 64
}

// scalars returns the items of a list "[a, b]", one item, or none for "" and "[]".
func scalars(s string) []string {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		s = strings.TrimSuffix(inner, "]")
	}
	var out []string
	for item := range strings.SplitSeq(s, ",") {
		if item = scalar(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

func scalar(s string) string { return strings.Trim(strings.TrimSpace(s), `"'`) }

// hiddenByModules returns the packages that dnf does not offer while only the default
// streams are active, each with the reason: those of other streams, and those that have the
// name of a package of an active stream without being in a module. The choice of streams is
// for all repositories.
func hiddenByModules(repos []*Repo) map[*Package]error {
	all := modules{defaults: map[string]string{}}
	for _, r := range repos {
		all.streams = append(all.streams, r.modules.streams...)
		for module, stream := range r.modules.defaults {
			all.defaults[module] = stream
		}
	}
	if len(all.streams) == 0 {
		return nil
	}
	inactive, active, names := map[string]*moduleStream{}, map[string]bool{}, map[string]*moduleStream{}
	for i := range all.streams {
		s := &all.streams[i]
		isActive := all.active(*s)
		for _, a := range s.artifacts {
			if !isActive {
				inactive[a] = s
				continue
			}
			active[a] = true
			if name, ok := artifactName(a); ok {
				names[name] = s
			}
		}
	}
	hidden := map[*Package]error{}
	for _, r := range repos {
		for i := range r.Packages {
			p := &r.Packages[i]
			id := p.artifact()
			switch s := inactive[id]; {
			case active[id]:
			case s != nil:
				hidden[p] = fmt.Errorf("it is in stream %q of module %q, which is not the default or needs other streams than the default ones", s.stream, s.module)
			case names[p.Name] != nil:
				hidden[p] = fmt.Errorf("the default stream %q of module %q has another build", names[p.Name].stream, names[p.Name].module)
			}
		}
	}
	return hidden
}

// active reports whether a stream is the default of its module, and the streams that it
// requires are.
func (m modules) active(s moduleStream) bool {
	if m.defaults[s.module] != s.stream || s.stream == "" {
		return false
	}
	for module, streams := range s.requires {
		have := m.defaults[module]
		if module != "platform" && (have == "" || len(streams) > 0 && !slices.Contains(streams, have)) {
			return false
		}
	}
	return true
}

// artifact returns the package's name in modules.yaml, which always has an epoch.
func (n NEVRA) artifact() string {
	epoch := n.Epoch
	if epoch == "" {
		epoch = "0"
	}
	return n.Name + "-" + epoch + ":" + n.Version + "-" + n.Release + "." + n.Arch
}

// artifactName returns the name of the package of an artifact, unless it is a source package.
func artifactName(artifact string) (string, bool) {
	before, _, ok := strings.Cut(artifact, ":")
	i := strings.LastIndexByte(before, '-')
	return before[:max(i, 0)], ok && i > 0 && !strings.HasSuffix(artifact, ".src")
}

// readModules reads the module streams of the repository, if it has any.
func (r *Repo) readModules(content io.Reader) error {
	var err error
	if r.modules, err = readModules(content); errors.Is(err, bufio.ErrTooLong) {
		err = fmt.Errorf("a line of more than %d bytes", maxModuleLine)
	}
	return err
}
