package agent

import (
	"testing"

	"github.com/offk8s/offk8s/bundle/reader"
)

// SetPace replaces the paces of mirrors during a test.
func SetPace(t *testing.T, p reader.Pace) {
	documents, files := documentPace, filePace
	documentPace, filePace = p, p
	t.Cleanup(func() { documentPace, filePace = documents, files })
}
