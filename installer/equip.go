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
	"time"

	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/manifests"
)

// AgentPath is where the operator puts its own program on a host. It is apart
// from the programs of the cluster: those are of the bundle.
const AgentPath = "/usr/local/lib/offk8s/offk8s"

// programs are the local programs that were looked at, by architecture.
type programs struct {
	mu   sync.Mutex
	list map[string]program
}

type program struct {
	path string
	sum  string // sha256, hex
	size int64
}

// equip puts the agent's program on a host, unless the very same is there.
func (f *Fleet) equip(ctx context.Context, m *member) error {
	start := time.Now()
	machine, err := host.Output(ctx, m, "uname", "-m")
	if err != nil {
		return fmt.Errorf("first command: %w", sudoHint(err))
	}
	m.trip = time.Since(start)
	arch, ok := manifests.MachineArch(strings.TrimSpace(machine))
	if !ok {
		return fmt.Errorf("machine %q: no offk8s runs there", strings.TrimSpace(machine))
	}
	p, err := f.program(arch)
	if err != nil {
		return fmt.Errorf("offk8s for %s: %w", arch, err)
	}
	// An error means mostly that there is none yet.
	have, err := host.Output(ctx, m, "sha256sum", "--", AgentPath)
	if exit := (*host.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return err
	}
	if sum, _, _ := strings.Cut(have, " "); sum == p.sum {
		return nil
	}
	file, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer file.Close()
	return m.Upload(ctx, file, p.size, AgentPath, 0o755)
}

// sudoHint explains the usual failure of a login without root.
func sudoHint(err error) error {
	if exit := (*host.ExitError)(nil); errors.As(err, &exit) && strings.Contains(exit.Stderr, "password is required") {
		return fmt.Errorf("%w; the user needs sudo without a password (NOPASSWD), or log in as root", err)
	}
	return err
}

// program hashes the local program of an architecture once.
func (f *Fleet) program(arch string) (program, error) {
	f.programs.mu.Lock()
	defer f.programs.mu.Unlock()
	if p, ok := f.programs.list[arch]; ok {
		return p, nil
	}
	name, err := f.binary(arch)
	if err != nil {
		return program{}, err
	}
	if err := checkMachine(name, arch); err != nil {
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
	if f.programs.list == nil {
		f.programs.list = map[string]program{}
	}
	f.programs.list[arch] = p
	return p, nil
}

// unequip removes the program from a host.
func (f *Fleet) unequip(ctx context.Context, m *member) error {
	if _, err := host.Output(ctx, m, "rm", "-f", "--", AgentPath); err != nil {
		return err
	}
	_, err := host.Output(ctx, m, "rmdir", "--ignore-fail-on-non-empty", "--", path.Dir(AgentPath))
	return err
}
