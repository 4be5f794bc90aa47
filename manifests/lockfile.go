package manifests

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/manifests/strict"
)

// LoadLock reads a Lock strictly (strict.DecodeJSON) and validates it. The error has
// every semantic problem; decoding stops at the first.
func LoadLock(data []byte) (*Lock, error) {
	l := &Lock{}
	if err := strict.DecodeJSON(data, l); err != nil {
		return nil, fmt.Errorf("read lock: %w", err)
	}
	l.Release.KubeletConfig = wholeNumbers(l.Release.KubeletConfig)
	if err := l.Validate(); err != nil {
		return nil, err
	}
	return l, nil
}

// LoadSealedLock reads the Lock of a bundle: as LoadLock, and the bytes must be
// those that Encode makes, so that one Lock has one digest.
func LoadSealedLock(data []byte) (*Lock, error) {
	l, err := LoadLock(data)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(l.Encode(), data) {
		return nil, errors.New("read lock: not in the canonical form")
	}
	return l, nil
}

// Encode returns the canonical form: indented JSON with sorted artifacts, UTC
// times of whole seconds and a final newline. Equal Locks give equal bytes.
func (l *Lock) Encode() []byte {
	c := *l
	c.Created = c.Created.UTC().Truncate(time.Second)
	if !c.Expires.IsZero() {
		c.Expires = c.Expires.UTC().Truncate(time.Second)
	}
	c.Artifacts = slices.Clone(l.Artifacts)
	slices.SortStableFunc(c.Artifacts, CompareArtifacts)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(c); err != nil {
		// Only a value that JSON cannot hold gets here, such as a channel in
		// KubeletConfig, which neither loader makes. An empty Lock loads nowhere.
		return nil
	}
	return b.Bytes()
}

// CompareArtifacts is the order of artifacts in a Lock.
func CompareArtifacts(a, b Artifact) int {
	return cmp.Or(
		strings.Compare(string(a.Kind), string(b.Kind)),
		strings.Compare(a.Distro, b.Distro),
		strings.Compare(a.Platform, b.Platform),
		strings.Compare(a.Name, b.Name),
		strings.Compare(a.Version, b.Version),
		strings.Compare(a.Path, b.Path),
	)
}

// Validate checks what a Lock says, joined into one error.
func (l *Lock) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf("lock: "+format, a...)) }
	if l.APIVersion != APIVersion || l.Kind != KindLock {
		bad("found %q %q, want %q %q", l.APIVersion, l.Kind, APIVersion, KindLock)
	}
	if !bundleName.MatchString(l.Name) {
		bad("name %q: want lower case letters, digits, dots and dashes", l.Name)
	}
	if l.Sequence < 1 {
		bad("sequence %d: want 1 or more", l.Sequence)
	}
	if y := l.Created.Year(); y < 1970 || y > 9999 {
		bad("created %v: not a date", l.Created)
	}
	if y := l.Expires.Year(); !l.Expires.IsZero() && (y < 1970 || y > 9999) {
		bad("expires %v: not a date", l.Expires)
	}
	if err := strict.CheckDigest(l.Previous); err != nil {
		bad("previous: %w", err)
	}
	if v, err := catalog.ParseVersion(l.Kubernetes); err != nil || v.Patch < 0 || v.String() != l.Kubernetes {
		bad("kubernetes %q: want a full version such as 1.36.3", l.Kubernetes)
	} else if v.MinorString() != l.Minor {
		bad("minor %q is not that of kubernetes %s", l.Minor, l.Kubernetes)
	}
	paths, names := map[string]bool{}, map[string]bool{}
	for i := range l.Artifacts {
		a := &l.Artifacts[i]
		if err := a.validate(); err != nil {
			bad("%s %q: %w", a.Kind, a.Name, err)
		}
		id := strings.Join([]string{string(a.Kind), a.Distro, a.Platform, a.Name, a.Version, a.Path}, "\x00")
		if names[id] {
			bad("%s %q is there twice", a.Kind, a.Name)
		}
		names[id] = true
		if at := a.Group + "/" + a.Path; a.Path != "" {
			if paths[at] {
				bad("%s %q: path %q is taken", a.Kind, a.Name, at)
			}
			paths[at] = true
		}
	}
	return errors.Join(errs...)
}

var (
	bundleName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,126}[a-z0-9])?$`)
	platform   = regexp.MustCompile(`^linux/[a-z0-9]+(/[a-z0-9]+)?$`)
)

func (a *Artifact) validate() error {
	var errs []error
	bad := func(format string, x ...any) { errs = append(errs, fmt.Errorf(format, x...)) }
	switch a.Kind {
	case KindFile, KindRPM, KindDeb:
		if _, ok := ParseGroup(a.Group); !ok {
			bad("group %q is none of files, yum/<distro>/<arch>, apt/<distro>", a.Group)
		}
		if !strict.IsPlainPath(a.Path) {
			bad("path %q is not a plain relative path", a.Path)
		}
	case KindImage:
		if a.Group != "" || a.Path != "" {
			bad("an image has no group or path")
		}
	default:
		bad("unknown kind")
	}
	if a.Name == "" || strings.ContainsFunc(a.Name, strict.Unprintable) || strings.ContainsFunc(a.Version, strict.Unprintable) {
		bad("name and version: want printable text")
	}
	if a.Platform != "" && !platform.MatchString(a.Platform) {
		bad("platform %q: want linux/<arch>", a.Platform)
	}
	if a.Distro != "" && !bundleName.MatchString(a.Distro) {
		bad("distro %q", a.Distro)
	}
	if a.Mode > 0o777 {
		bad("mode %o is more than 0777", a.Mode)
	}
	if a.Source.Size < 0 || a.Blob.Size < 0 || a.Plain.Size < 0 {
		bad("a negative size")
	}
	for _, d := range append([]digest.Digest{a.Source.Digest, a.Blob.Digest, a.Plain.Digest}, a.Absent...) {
		if err := strict.CheckDigest(d); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// wholeNumbers turns the float64 that JSON gives for whole numbers into the
// int64 that YAML gives, so that a Lock and the catalog hold the same.
func wholeNumbers(m map[string]any) map[string]any {
	for k, v := range m {
		m[k] = wholeNumber(v)
	}
	return m
}

func wholeNumber(v any) any {
	switch v := v.(type) {
	case float64:
		if i := int64(v); v > -1<<53 && v < 1<<53 && float64(i) == v {
			return i
		}
	case map[string]any:
		return wholeNumbers(v)
	case []any:
		for i := range v {
			v[i] = wholeNumber(v[i])
		}
	}
	return v
}
