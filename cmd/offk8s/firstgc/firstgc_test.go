package firstgc

import (
	"os"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

// After the first collection the collector works as usual.
func TestFirstCollectionEndsIt(t *testing.T) {
	if os.Getenv("GOGC") != "" {
		t.Skip("GOGC is set")
	}
	percent := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); runtime.GC() {
		if metrics.Read(percent); percent[0].Value.Uint64() == usual {
			return
		}
	}
	t.Fatalf("%d percent of garbage after collections, want %d", percent[0].Value.Uint64(), usual)
}
