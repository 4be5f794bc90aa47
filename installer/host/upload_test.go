package host

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/offk8s/offk8s/test/testenv"
)

// With a strict umask, as hardened hosts have it, directories that others need stay
// readable.
func TestUploadMakesDirectories(t *testing.T) {
	testenv.NeedRoot(t)
	defer syscall.Umask(syscall.Umask(0o077))
	root := t.TempDir()
	dest := filepath.Join(root, "lib/offk8s/offk8s")
	if err := NewLocal("here", nil).Upload(t.Context(), strings.NewReader("x"), 1, dest, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"lib", "lib/offk8s", "lib/offk8s/offk8s"} {
		if st, err := os.Stat(filepath.Join(root, path)); err != nil || st.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v %v, want mode 0755", path, st.Mode(), err)
		}
	}
}
