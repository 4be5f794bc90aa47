//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/secrettest"
)

// watcher collects the places that a secret could leak into: everything the commands
// print, and the arguments and environments of all processes, those of the
// hosts among them, for the lab's hosts share the machine's kernel.
type watcher struct {
	mu      sync.Mutex
	outputs strings.Builder
	seen    map[string]bool
}

// Write keeps the output of a command.
func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.outputs.Write(p)
}

// processes looks at all processes until stop is closed.
func (w *watcher) processes(stop <-chan struct{}) {
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		entries, _ := os.ReadDir("/proc")
		for _, e := range entries {
			if strings.Trim(e.Name(), "0123456789") == "" {
				w.look(filepath.Join("/proc", e.Name()))
			}
		}
	}
}

// look keeps arguments and environment of a process.
func (w *watcher) look(dir string) {
	for _, name := range []string{"cmdline", "environ"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || len(b) == 0 {
			return // it ended, or is a thread of the kernel
		}
		w.mu.Lock()
		if w.seen == nil {
			w.seen = map[string]bool{}
		}
		w.seen[string(b)] = true
		w.mu.Unlock()
	}
}

// hostLogs prints the places of a host that hold one of the words: the journal, logs, those
// of sudo and of offk8s among them, histories and processes. To see that grep works, it
// looks for a word of its own first.
const hostLogs = `umask 077; w=$(mktemp /dev/shm/words.XXXXXX); trap 'rm -f "$w"' EXIT
cat >"$w" <<'WORDS'
%s
found-by-grep
WORDS
echo a-word-found-by-grep | grep -qF -f "$w" || echo "grep finds nothing"
journalctl --no-pager --quiet --output=verbose 2>/dev/null | grep -qF -f "$w" && echo journal
grep -rlF -f "$w" /var/log /var/lib/offk8s/log /tmp /var/tmp /root/.bash_history /home 2>/dev/null
for p in /proc/[0-9]*; do cat "$p/cmdline" "$p/environ" 2>/dev/null | tr '\0' '\n' | grep -qF -f "$w" && tr '\0' ' ' <"$p/cmdline"; done
echo searched
`

// secrets: no private key, token or kubeconfig of this cluster is in any
// output, in the plan, in a process list, in a log of a host, or in a file that others may
// read.
func (r *road) secrets(t *testing.T) {
	values := map[string][]byte{}
	outputs := map[string]string{}
	files, err := os.ReadDir(r.state())
	must(t, err)
	for _, f := range files {
		if f.IsDir() { // logs of runs
			logs, err := filepath.Glob(filepath.Join(r.state(), f.Name(), "*"))
			must(t, err)
			for _, name := range logs {
				b, err := os.ReadFile(name)
				must(t, err)
				outputs[name] = string(b)
			}
			continue
		}
		b, err := os.ReadFile(filepath.Join(r.state(), f.Name()))
		must(t, err)
		switch {
		case f.Name() == "bootstrap-token.json":
			var token struct{ Token string }
			must(t, json.Unmarshal(b, &token))
			values[f.Name()] = []byte(token.Token)
		case strings.HasSuffix(f.Name(), ".key"), f.Name() == "encryption-config.yaml":
			values[f.Name()] = b
		}
		if info, err := f.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("state file %s: mode %v: %v", f.Name(), info.Mode(), err)
		}
	}
	if len(values) < 10 {
		t.Fatalf("only %d secrets in %s: the test looks in the wrong place", len(values), r.state())
	}
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	if len(r.watch.seen) < 20 {
		t.Fatalf("only %d process lists were seen", len(r.watch.seen))
	}
	var processes strings.Builder
	for p := range r.watch.seen {
		processes.WriteString(p)
	}
	outputs["output"], outputs["process list"] = r.watch.outputs.String(), processes.String()
	secrettest.None(t, values, outputs)

	words := strings.Join(secrettest.Words(values), "\n")
	if strings.Count(words, "\n") < len(values) {
		t.Fatalf("only %d words to search for", strings.Count(words, "\n"))
	}
	for _, h := range r.hosts {
		if out := r.script1(t, h.addr, fmt.Sprintf(hostLogs, words)); strings.TrimSpace(out) != "searched" {
			t.Errorf("%s: secrets are in:\n%s", h.name, out)
		}
		out := r.script1(t, h.addr, `find /etc/kubernetes /etc/etcd /etc/offk8s /var/lib/offk8s /var/lib/kubelet/pki -type f -perm /077 -exec grep -l -e "PRIVATE KEY" -e "client-key-data" {} + || true`)
		if strings.TrimSpace(out) != "" {
			t.Errorf("%s: others may read keys in:\n%s", h.name, out)
		}
	}
}
