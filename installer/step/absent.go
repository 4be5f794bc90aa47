package step

import "fmt"

// Absent is a file that must not be there (any more), such as a bootstrap
// kubeconfig after the node has joined. Undo does not bring it back.
type Absent struct {
	Path string `json:"path"`
}

// Kind returns "absent".
func (a *Absent) Kind() string { return "absent" }

// Describe names the path.
func (a *Absent) Describe() string { return fmt.Sprintf("no file %s", a.Path) }

// Validate checks the path.
func (a *Absent) Validate() error { return checkPath("path", a.Path) }
