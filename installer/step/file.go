package step

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// File is a file with exactly this content, mode and owner. The plan contains the
// content, or a reference to it if it is secret.
//
// If something differs, Apply writes a temporary file, syncs it and renames it to
// Path. It refuses a symbolic link at Path. Undo restores the previous file, or
// removes the file if there was none.
type File struct {
	Path    string `json:"path"`
	Content string `json:"content,omitempty"`
	// Secret is the content instead, "pki:etcd-server-cp-1.key".
	Secret SecretRef `json:"secret,omitempty"`
	// Mode defaults to 0644, with a Secret to 0600.
	Mode Mode `json:"mode,omitempty"`
	// Owner and Group are names or numbers of the host; "" is root.
	Owner string `json:"owner,omitempty"`
	Group string `json:"group,omitempty"`
}

func (f *File) Kind() string { return "file" }

func (f *File) Secrets() []SecretRef { return references(f.Secret) }

func (f *File) Target() Target { return Target{Path: f.Path} }

func (f *File) Describe() string { return fmt.Sprintf("file %s %s", f.Path, f.mode()) }

func (f *File) Validate() error {
	errs := []error{checkPath("path", f.Path), f.Mode.check()}
	if f.Content != "" && f.Secret != "" {
		errs = append(errs, errors.New("content and secret: want one of them"))
	}
	if f.Secret != "" && f.mode()&0o007 != 0 {
		errs = append(errs, fmt.Errorf("mode %s: a secret must not be open to others", f.Mode))
	}
	return errors.Join(errs...)
}

func (f *File) mode() Mode {
	switch {
	case f.Mode != 0:
		return f.Mode
	case f.Secret != "":
		return 0o600
	}
	return 0o644
}

func (f *File) Check(_ context.Context, env *Env) (Result, error) {
	want, err := f.content(env)
	if err != nil {
		return Result{}, err
	}
	return env.checkFile(f.place(), func(path string) (string, error) {
		have, err := env.ReadFile(path)
		if err != nil || bytes.Equal(have, want) {
			return "", err
		}
		return "content differs", nil
	})
}

func (f *File) Apply(_ context.Context, env *Env) (Result, error) {
	want, err := f.content(env)
	if err != nil {
		return Result{}, err
	}
	return env.applyFile(f.place(), bytes.NewReader(want))
}

func (f *File) Undo(_ context.Context, env *Env, prior json.RawMessage) error {
	return env.restore(f.Path, prior)
}

func (f *File) place() place { return place{f.Path, f.mode(), f.Owner, f.Group} }

func (f *File) content(env *Env) ([]byte, error) {
	if f.Secret == "" {
		return []byte(f.Content), nil
	}
	return env.Secret(f.Secret)
}

// checkFile compares a file with p. content returns the difference of the content, ""
// if there is none.
func (e *Env) checkFile(p place, content func(path string) (string, error)) (Result, error) {
	now, err := e.stat(p.path)
	if err != nil {
		return Result{}, err
	}
	reason := "absent"
	if now.exists {
		if reason, err = content(p.path); err != nil {
			return Result{}, err
		}
		if reason == "" {
			if reason, err = e.differs(p, now); err != nil {
				return Result{}, err
			}
		}
	}
	if reason == "" {
		return Result{State: OK}, nil
	}
	prior, err := e.filePrior(p.path, now)
	return Result{State: Differs, Reason: reason, Prior: priorJSON(prior)}, err
}

// applyFile writes a file and returns its prior.
func (e *Env) applyFile(p place, r io.Reader) (Result, error) {
	now, err := e.stat(p.path)
	if err != nil {
		return Result{}, err
	}
	prior, err := e.filePrior(p.path, now)
	if err != nil {
		return Result{}, err
	}
	if err := e.backUp(p.path, prior); err != nil {
		return Result{}, err
	}
	if err := e.write(p, r); err != nil {
		return Result{}, fmt.Errorf("write %q: %w", p.path, err)
	}
	return Result{State: Changed, Reason: "written", Prior: priorJSON(prior)}, nil
}
