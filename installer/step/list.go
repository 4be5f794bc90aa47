package step

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Kinds is a list of step kinds: name to constructor of an empty step.
type Kinds map[string]func() Step

// All returns the kinds of this package. A new kind is one file and one line here;
// installer/kube lists the kinds that talk to the Kubernetes API.
func All() Kinds {
	return Kinds{
		"absent":          func() Step { return &Absent{} },
		"artifact":        func() Step { return &Artifact{} },
		"block":           func() Step { return &Block{} },
		"command":         func() Step { return &Command{} },
		"directory":       func() Step { return &Directory{} },
		"docker-image":    func() Step { return &DockerImage{} },
		"endpoint":        func() Step { return &Endpoint{} },
		"etcd-data":       func() Step { return &EtcdData{} },
		"etcd-quorum":     func() Step { return &EtcdQuorum{} },
		"etcd-promote":    func() Step { return &EtcdPromote{} },
		"etcd-leave":      func() Step { return &EtcdLeave{} },
		"file":            func() Step { return &File{} },
		"firewall":        func() Step { return &Firewall{} },
		"hostname":        func() Step { return &Hostname{} },
		"image":           func() Step { return &Image{} },
		"kube-cleanup":    func() Step { return &Cleanup{} },
		"kubelet-join":    func() Step { return &KubeletJoin{} },
		"modules":         func() Step { return &Modules{} },
		"packages":        func() Step { return &Packages{} },
		"present":         func() Step { return &Present{} },
		"route":           func() Step { return &Route{} },
		"selinux":         func() Step { return &SELinux{} },
		"selinux-boolean": func() Step { return &SELinuxBoolean{} },
		"swap":            func() Step { return &Swap{} },
		"symlink":         func() Step { return &Symlink{} },
		"sysctl":          func() Step { return &Sysctl{} },
		"unit":            func() Step { return &Unit{} },
		"unit-stop":       func() Step { return &UnitStop{} },
		"user":            func() Step { return &User{} },
		"wait":            func() Step { return &Wait{} },
	}
}

// With returns the kinds of k and more; for a name in both that of more.
func (k Kinds) With(more Kinds) Kinds {
	out := maps.Clone(k)
	maps.Copy(out, more)
	return out
}

// itemJSON is the JSON form of an Item.
type itemJSON struct {
	ID     string          `json:"id"`
	Why    string          `json:"why,omitempty"`
	Unless string          `json:"unless,omitempty"`
	Kind   string          `json:"kind"`
	Spec   json.RawMessage `json:"spec"`
}

// MarshalJSON writes {id, why, unless, kind, spec}.
func (i Item) MarshalJSON() ([]byte, error) {
	if i.Step == nil {
		return nil, fmt.Errorf("step %q: no kind", i.ID)
	}
	spec, err := json.Marshal(i.Step)
	if err != nil {
		return nil, err
	}
	return json.Marshal(itemJSON{i.ID, i.Why, i.Unless, i.Step.Kind(), spec})
}

// Decode parses an Item that MarshalJSON wrote and validates it. It refuses unknown
// kinds and fields: an agent must not ignore a wish of another version.
func (k Kinds) Decode(b []byte) (Item, error) {
	var j itemJSON
	if err := strict.DecodeJSON(b, &j); err != nil {
		return Item{}, fmt.Errorf("step: %w", err)
	}
	build, ok := k[j.Kind]
	if !ok {
		return Item{}, fmt.Errorf("step %q: kind %q is not one of %s", j.ID, j.Kind,
			strings.Join(slices.Sorted(maps.Keys(k)), ", "))
	}
	it := Item{ID: j.ID, Why: j.Why, Unless: j.Unless, Step: build()}
	if err := strict.DecodeJSON(j.Spec, it.Step); err != nil {
		return Item{}, fmt.Errorf("step %q: kind %q: %w", j.ID, j.Kind, err)
	}
	return it, it.Validate()
}

// Validate checks the ID and the fields of the step.
func (i Item) Validate() error {
	var errs []error
	if i.ID == "" || strings.ContainsFunc(i.ID, isControl) {
		errs = append(errs, errors.New("id: empty or with control characters"))
	}
	if i.Unless != "" {
		errs = append(errs, checkPath("unless", i.Unless))
	}
	errs = append(errs, i.Step.Validate())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("step %q: %w", i.ID, err)
	}
	return nil
}
