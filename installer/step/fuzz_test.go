package step

import (
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
)

// FuzzDecode: a step that is accepted is the same after it was sent once more, and has
// a description of one line.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"id":"a","kind":"swap","spec":{}}`))
	f.Add([]byte(`{"id":"a/b","why":"x","unless":"/x","kind":"file","spec":{"path":"/etc/x","content":"y","mode":"0640"}}`))
	f.Add([]byte(`{"id":"a","kind":"unit","spec":{"name":"a.service","enable":true}}`))
	f.Add([]byte(`{"id":"a","kind":"packages","spec":{"manager":"dnf","names":["a"],"source":"/x"}}`))
	f.Add([]byte(`{"id":"a","kind":"wait","spec":{"url":"https://x","timeout":"1s"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		it, err := All().Decode(b)
		if err != nil {
			return
		}
		sent, err := json.Marshal(it)
		if err != nil {
			t.Fatal(err)
		}
		again, err := All().Decode(sent)
		if err != nil {
			t.Fatalf("%s: %v", sent, err)
		}
		if twice, err := json.Marshal(again); err != nil || string(twice) != string(sent) {
			t.Errorf("sent %s, then %s: %v", sent, twice, err)
		}
		if d := it.Step.Describe(); strings.TrimSpace(d) == "" {
			t.Errorf("%s: no description", sent)
		}
	})
}

// FuzzFstab: commenting out the swap lines and undoing it gives the file as it was, and
// leaves no swap line.
func FuzzFstab(f *testing.F) {
	f.Add("/dev/sdb none swap sw 0 0\nUUID=1 / ext4 defaults 0 1")
	f.Add("# /dev/sdb none swap\n\t/swap\\040file none swap defaults")
	root := f.TempDir()
	if err := os.Mkdir(root+"/etc", 0o755); err != nil {
		f.Fatal(err)
	}
	env := &Env{Root: root, Log: slog.New(slog.DiscardHandler)}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, swapPrefix) {
			t.Skip()
		}
		write := func(s string) {
			if err := os.WriteFile(root+fstabFile, []byte(s), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		write(text)
		out, specs, err := (&Swap{}).fstab(env)
		if err != nil {
			t.Fatal(err)
		}
		if back := strings.ReplaceAll(out, swapPrefix, ""); back != text {
			t.Errorf("undo gives %q, want %q", back, text)
		}
		write(out)
		if _, left, err := (&Swap{}).fstab(env); err != nil || len(left) > 0 {
			t.Errorf("%q of %q are left: %v", left, specs, err)
		}
	})
}

// FuzzUnitName: every device has a unit whose name systemd takes.
func FuzzUnitName(f *testing.F) {
	f.Add("/dev/sda3")
	f.Add("/var/swap file-1")
	f.Fuzz(func(t *testing.T, device string) {
		if name := swapUnitName(device); strings.Trim(device, "/") != "" && !unitName(name) {
			t.Errorf("%q: unit %q", device, name)
		}
	})
}
