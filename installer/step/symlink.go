package step

import (
	"errors"
	"fmt"
)

// Symlink is a symbolic link at Path to Target.
type Symlink struct {
	Path   string `json:"path"`
	Target string `json:"target"`
}

// Kind returns "symlink".
func (s *Symlink) Kind() string { return "symlink" }

// Describe names link and target.
func (s *Symlink) Describe() string { return fmt.Sprintf("symlink %s -> %s", s.Path, s.Target) }

// Validate checks both paths.
func (s *Symlink) Validate() error {
	return errors.Join(checkPath("path", s.Path), checkPath("target", s.Target))
}
