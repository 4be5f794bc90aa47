package installer

import (
	"debug/elf"
	"fmt"
)

// checkMachine refuses a program of another architecture, which a host would
// answer with "exec format error".
func checkMachine(name, arch string) error {
	f, err := elf.Open(name)
	if err != nil {
		return fmt.Errorf("program %q: %w", name, err)
	}
	defer f.Close()
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]
	if f.Machine != want {
		return fmt.Errorf("program %q is for %s, the host needs %s", name, f.Machine, arch)
	}
	return nil
}
