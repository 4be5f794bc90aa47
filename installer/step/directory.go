package step

import (
	"errors"
	"fmt"
)

// Directory is a directory with this mode and owner; its parents are made 0755.
type Directory struct {
	Path  string `json:"path"`
	Mode  Mode   `json:"mode,omitempty"` // 0755 when empty
	Owner string `json:"owner,omitempty"`
	Group string `json:"group,omitempty"`
	// Purge makes Undo remove everything below, also what daemons put there,
	// provided that the directory was not there or was empty before. Mounts below
	// it are unmounted first; a mount point itself is emptied and stays.
	Purge bool `json:"purge,omitempty"`
}

// Kind returns "directory".
func (d *Directory) Kind() string { return "directory" }

// Describe names path and mode.
func (d *Directory) Describe() string { return fmt.Sprintf("directory %s %s", d.Path, d.mode()) }

// Validate checks path and mode.
func (d *Directory) Validate() error {
	return errors.Join(checkPath("path", d.Path), d.Mode.check())
}

func (d *Directory) mode() Mode {
	if d.Mode == 0 {
		return 0o755
	}
	return d.Mode
}
