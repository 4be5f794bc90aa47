package step

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Heir is implemented by kinds whose Target does not identify what they change. See
// Inherit.
type Heir interface {
	Inherit(left Step, prior json.RawMessage) (taken json.RawMessage, all bool)
}

// Inherit returns the part of the prior of left that heir takes over, because it has
// changed the same thing: heir has another ID, or is of another kind, and left is no
// longer wanted. The result is nil if heir takes over nothing; all reports that it takes
// over everything, so that nothing of left remains to be undone.
func Inherit(heir, left Step, prior json.RawMessage) (taken json.RawMessage, all bool) {
	if UndoesNothing(heir) || UndoesNothing(left) {
		return nil, false
	}
	if h, ok := heir.(Heir); ok {
		return h.Inherit(left, prior)
	}
	a, okA := heir.(Targeter)
	b, okB := left.(Targeter)
	if okA && okB && heir.Kind() == left.Kind() && a.Target() == b.Target() {
		return prior, true
	}
	return nil, false
}

// inheritIf returns the whole prior if same is true.
func inheritIf(same bool, prior json.RawMessage) (json.RawMessage, bool) {
	if !same {
		return nil, false
	}
	return prior, true
}

// inheritPath is Inherit of the kinds whose prior is the file or link at a path.
func inheritPath(path string, left Step, prior json.RawMessage) (json.RawMessage, bool) {
	at := ""
	switch l := left.(type) {
	case *File:
		at = l.Path
	case *Artifact:
		at = l.Path
	case *Symlink:
		at = l.Path
	}
	return inheritIf(at == path, prior)
}

func (f *File) Inherit(left Step, prior json.RawMessage) (json.RawMessage, bool) {
	return inheritPath(f.Path, left, prior)
}

func (a *Artifact) Inherit(left Step, prior json.RawMessage) (json.RawMessage, bool) {
	return inheritPath(a.Path, left, prior)
}

func (s *Symlink) Inherit(left Step, prior json.RawMessage) (json.RawMessage, bool) {
	return inheritPath(s.Path, left, prior)
}

func (b *Block) Inherit(left Step, prior json.RawMessage) (json.RawMessage, bool) {
	l, ok := left.(*Block)
	return inheritIf(ok && l.Path == b.Path && l.begin() == b.begin(), prior)
}

func (*Hostname) Inherit(left Step, prior json.RawMessage) (json.RawMessage, bool) {
	_, ok := left.(*Hostname)
	return inheritIf(ok, prior)
}

func (*Swap) Inherit(left Step, prior json.RawMessage) (json.RawMessage, bool) {
	_, ok := left.(*Swap)
	return inheritIf(ok, prior)
}

func (*Cleanup) Inherit(left Step, prior json.RawMessage) (json.RawMessage, bool) {
	_, ok := left.(*Cleanup)
	return inheritIf(ok, prior)
}

func (c *Command) Inherit(left Step, prior json.RawMessage) (json.RawMessage, bool) {
	l, ok := left.(*Command)
	return inheritIf(ok && slices.Equal(l.UndoArgv, c.UndoArgv), prior)
}

// Inherit takes over the values of the settings that both have.
func (s *Sysctl) Inherit(left Step, raw json.RawMessage) (json.RawMessage, bool) {
	l, ok := left.(*Sysctl)
	if ok && l.file() == s.file() {
		return raw, true
	}
	var p sysctlPrior
	if !ok || json.Unmarshal(raw, &p) != nil {
		return nil, false
	}
	p.File = nil
	maps.DeleteFunc(p.Values, func(k, _ string) bool { return s.Values[k] == "" })
	if len(p.Values) == 0 {
		return nil, false
	}
	return priorJSON(p), false
}

// Inherit takes over the labels of the paths that both have.
func (s *SELinux) Inherit(left Step, raw json.RawMessage) (json.RawMessage, bool) {
	var p selinuxPrior
	if _, ok := left.(*SELinux); !ok || json.Unmarshal(raw, &p) != nil {
		return nil, false
	}
	common := slices.DeleteFunc(slices.Clone(p.Paths), func(path string) bool { return !s.has(path) })
	if len(common) == 0 {
		return nil, false
	}
	return priorJSON(selinuxPrior{common}), len(common) == len(p.Paths)
}

// Inherit takes over the rules that both have.
func (f *Firewall) Inherit(left Step, raw json.RawMessage) (json.RawMessage, bool) {
	var p firewallPrior
	if _, ok := left.(*Firewall); !ok || json.Unmarshal(raw, &p) != nil {
		return nil, false
	}
	common := slices.DeleteFunc(slices.Clone(p.Rules), func(r string) bool { return !f.wants(p.Manager, r) })
	if len(common) == 0 {
		return nil, false
	}
	return priorJSON(firewallPrior{p.Manager, common}), len(common) == len(p.Rules)
}

// needed reports whether a step that stays is at path or below it. It is false except
// while steps are undone that are no longer wanted.
func (e *Env) needed(path string) bool {
	return slices.ContainsFunc(e.Kept, func(s Step) bool {
		t, ok := s.(Targeter)
		return ok && (t.Target().Path == path || strings.HasPrefix(t.Target().Path, path+"/"))
	})
}

// Needs reports whether a step that stays, or one of the generation before, needs what s
// has made: a directory with wanted files in it, or the file that a link points to.
func (e *Env) Needs(s Step) bool {
	switch s := s.(type) {
	case *Directory:
		return e.needed(s.Path)
	case *Artifact:
		return slices.ContainsFunc(append(slices.Clone(e.Kept), e.Back...), func(x Step) bool {
			l, ok := x.(*Symlink)
			return ok && l.resolved() == s.Path
		})
	}
	return false
}

// keptHas reports whether a step of type T that stays satisfies the condition.
func keptHas[T Step](e *Env, has func(T) bool) bool {
	return slices.ContainsFunc(e.Kept, func(s Step) bool {
		t, ok := s.(T)
		return ok && has(t)
	})
}
