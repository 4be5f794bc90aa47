package facts

import (
	"encoding/binary"
	"log/slog"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/installer/step"
)

func TestTyped(t *testing.T) {
	entry := func(kind byte) []byte {
		b := make([]byte, 24)
		binary.NativeEndian.PutUint16(b[16:], 24)
		b[18] = kind
		return b
	}
	unknown := append(entry(unix.DT_UNKNOWN), entry(unix.DT_UNKNOWN)...)
	tests := []struct {
		name string
		in   []byte
		want bool
	}{
		{"ftype=0", unknown, false},
		{"ftype=1", append(unknown, entry(unix.DT_DIR)...), true},
		{"nothing", nil, false},
		{"cut", entry(unix.DT_UNKNOWN)[:20], false},
		{"no length", make([]byte, 48), false},
	}
	for _, tt := range tests {
		if got := typed(tt.in); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}

// Any file system that tests run on today has types; an empty directory is enough.
func TestLacksFileTypes(t *testing.T) {
	env := &step.Env{Root: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	if lacksFileTypes(env) {
		t.Error("no directory, and it lacks types")
	}
	if err := os.MkdirAll(env.Path("/var/lib/containerd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if lacksFileTypes(env) {
		t.Error("the file system of the tests lacks types")
	}
}
