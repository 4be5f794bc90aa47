package installer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/offk8s/offk8s/bundle/selfbin"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/manifests"
)

// AgentPath is the path of the agent's program on a host, a copy of the operator's.
// The programs of the cluster are elsewhere; they come from the bundle.
const AgentPath = "/usr/local/lib/offk8s/offk8s"

// programs caches the local programs by architecture.
type programs struct {
	mu     sync.Mutex
	byArch map[string]program
}

// program is a local offk8s program.
type program struct {
	path string
	sum  string // sha256, hex
	size int64
}

// firstLook is the first command on a host. It prints the machine, then owner and st_mode
// (hex) of the agent's directory or "none", then the digest of the program if it is there:
// the one that remember has noted, if the file is still the same.
const firstLook = `uname -m && if [ -e "$1" ] || [ -L "$1" ]; then stat --format='%u %f' -- "$1"; else echo none; fi &&
if now=$(stat --format='` + identity + `' -- "$2" 2>/dev/null); then
  { [ -f "$2.sum" ] && read -r was && read -r sum && [ "$was" = "$now" ] && echo "$sum known"; } 2>/dev/null <"$2.sum" || sha256sum -- "$2"
fi`

// remember notes the digest of the program, so that later runs need not read it all, and
// what changes with each change of the file.
const remember = `was=$(stat --format='` + identity + `' -- "$1") && sum=$(sha256sum -- "$1") &&
[ "$was" = "$(stat --format='` + identity + `' -- "$1")" ] &&
printf '%s\n' "$was" "${sum%% *}" >"$1.offk8s-sum" && mv -f -- "$1.offk8s-sum" "$1.sum"`

// identity is inode, size and times of the last changes of content and of status.
const identity = `%i %s %y %z`

// installAgent copies the agent's program to a host unless the same program is
// there, and measures the round trip time of a command.
func (f *Fleet) installAgent(ctx context.Context, m *member) error {
	start := time.Now()
	var out firstWrite
	var errOut strings.Builder
	err := m.Run(ctx, []string{"sh", "-c", firstLook, "sh", path.Dir(AgentPath), AgentPath}, nil, &out, &errOut)
	if exit, ok := errors.AsType[*host.ExitError](err); ok {
		exit.Stderr = strings.TrimSpace(errOut.String())
	}
	if err != nil {
		return fmt.Errorf("first command: %w", err)
	}
	m.rtt = out.at.Sub(start) // the digest comes later
	machine, rest, _ := strings.Cut(out.buf.String(), "\n")
	dir, sum, _ := strings.Cut(rest, "\n")
	arch, ok := manifests.MachineArch(strings.TrimSpace(machine))
	if !ok {
		return fmt.Errorf("machine %q: offk8s does not support it", strings.TrimSpace(machine))
	}
	p, err := f.program(arch)
	if err != nil {
		return fmt.Errorf("offk8s for %s: %w", arch, err)
	}
	if err := checkAgentDir(dir); err != nil {
		return err
	}
	sum, known, _ := strings.Cut(strings.TrimSpace(sum), " ")
	if sum == p.sum {
		if known != "known" {
			rememberProgram(ctx, m)
		}
		return nil
	}
	file, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := m.Upload(ctx, file, p.size, AgentPath, 0o755); err != nil {
		return err
	}
	rememberProgram(ctx, m)
	return nil
}

// rememberProgram makes the next firstLook quick. Without it, that reads the program.
func rememberProgram(ctx context.Context, m *member) {
	_, _ = host.Output(ctx, m, "sh", "-c", remember, "sh", AgentPath)
}

// firstWrite is a buffer that notes when it got its first bytes.
type firstWrite struct {
	at time.Time
	// Not embedded: io.WriteString would go past Write.
	buf strings.Builder
}

func (w *firstWrite) Write(b []byte) (int, error) {
	if w.at.IsZero() {
		w.at = time.Now()
	}
	return w.buf.Write(b)
}

// checkAgentDir refuses a directory in which others may replace the program after it was
// hashed. On some hosts, a group may write to its parent. stat is the line of firstLook.
func checkAgentDir(stat string) error {
	dir := path.Dir(AgentPath)
	if stat == "none" {
		return nil // Upload creates it
	}
	var uid, mode uint32
	if _, err := fmt.Sscanf(stat, "%d %x", &uid, &mode); err != nil {
		return fmt.Errorf("stat of %q: %q: %w", dir, stat, err)
	}
	if uid != 0 || mode&syscall.S_IFMT != syscall.S_IFDIR || mode&0o022 != 0 {
		return fmt.Errorf("%q: owner %d, mode %o, want a directory that only root may write", dir, uid, mode)
	}
	return nil
}

// program returns the local program for an architecture, which it hashes once.
func (f *Fleet) program(arch string) (program, error) {
	f.programs.mu.Lock()
	defer f.programs.mu.Unlock()
	if p, ok := f.programs.byArch[arch]; ok {
		return p, nil
	}
	name, err := f.binary(arch)
	if err != nil {
		return program{}, err
	}
	if err := selfbin.CheckMachine(name, arch); err != nil {
		return program{}, err
	}
	file, err := os.Open(name)
	if err != nil {
		return program{}, err
	}
	defer file.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, file)
	if err != nil {
		return program{}, err
	}
	p := program{name, hex.EncodeToString(sum.Sum(nil)), size}
	if f.programs.byArch == nil {
		f.programs.byArch = map[string]program{}
	}
	f.programs.byArch[arch] = p
	return p, nil
}

// removeAgent removes the agent's program from a host.
func removeAgent(ctx context.Context, m *member) error {
	// An upload that was cut leaves its file under a longer name.
	const remove = `rm -f -- "$1" "$1".sum "$1".offk8s-*`
	if _, err := host.Output(ctx, m, "sh", "-c", remove, "sh", AgentPath); err != nil {
		return err
	}
	_, err := host.Output(ctx, m, "rmdir", "--ignore-fail-on-non-empty", "--", path.Dir(AgentPath))
	return err
}
