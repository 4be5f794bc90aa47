package step

import (
	"errors"
	"fmt"
)

// File is a file with exactly this content, mode and owner. Content stands in
// the plan; a secret one is named by reference instead.
//
// The file is written beside its place, synced and renamed, and only when
// something differs. A symbolic link at Path is refused. What was there before
// is kept for Undo; a file that was not there is removed.
type File struct {
	Path    string `json:"path"`
	Content string `json:"content,omitempty"`
	// Secret names the content instead, "pki:etcd-server-cp-1.key".
	Secret string `json:"secret,omitempty"`
	// Mode defaults to 0644, for a Secret to 0600.
	Mode Mode `json:"mode,omitempty"`
	// Owner and Group are names or numbers of the host; empty means the agent's own (root).
	Owner string `json:"owner,omitempty"`
	Group string `json:"group,omitempty"`
}

// Kind returns "file".
func (f *File) Kind() string { return "file" }

// Describe names path and mode, never the content.
func (f *File) Describe() string { return fmt.Sprintf("file %s %s", f.Path, f.mode()) }

// Validate checks path, mode and that there is one source of content at most.
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
