package main

import (
	"testing"

	"github.com/offk8s/offk8s/bundle"
)

// TestShareable: a file is stored in another form than it is downloaded in, so that a
// bundle cannot share it with the download.
func TestShareable(t *testing.T) {
	var p bundle.PackPlan
	for kind, size := range map[string]int64{"file": 1, "image": 10, "rpm": 100, "deb": 1000, "chart": 10_000, "attachment": 100_000} {
		p.Artifacts = append(p.Artifacts, bundle.PlannedArtifact{Kind: kind, Bytes: size})
	}
	if got := shareable(p); got != 111_110 {
		t.Errorf("%d bytes are shared, want all but the file", got)
	}
}
