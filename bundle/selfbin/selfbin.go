// Package selfbin checks binaries of offk8s before they are packed, or copied to
// a host: ELF, for the right machine, and able to run on a bare Linux host.
package selfbin

import (
	"debug/elf"
	"fmt"
)

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// Check returns an error unless path is a statically linked executable for
// linux/arch. arch is Go's name: "amd64" or "arm64".
func Check(path, arch string) error {
	f, err := open(path, arch)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return fmt.Errorf("offk8s binary for linux/%s: %q is %s, want an executable", arch, path, f.Type)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("offk8s binary for linux/%s: %q is dynamically linked, build it with CGO_ENABLED=0", arch, path)
		}
	}
	if libs, err := f.ImportedLibraries(); err == nil && len(libs) > 0 {
		return fmt.Errorf("offk8s binary for linux/%s: %q needs %s, want a static program", arch, path, libs[0])
	}
	return nil
}

// CheckMachine returns an error unless path is an ELF file for arch. A host of
// another architecture would only report "exec format error".
func CheckMachine(path, arch string) error {
	f, err := open(path, arch)
	if err != nil {
		return err
	}
	return f.Close()
}

// open opens an ELF file and checks its machine.
func open(path, arch string) (*elf.File, error) {
	want, ok := machines[arch]
	if !ok {
		return nil, fmt.Errorf("offk8s binary for linux/%s: architecture is not known", arch)
	}
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("offk8s binary for linux/%s: %q is not an ELF file: %w", arch, path, err)
	}
	if f.Machine != want || f.Class != elf.ELFCLASS64 {
		f.Close()
		return nil, fmt.Errorf("offk8s binary for linux/%s: %q is for %s, want %s", arch, path, f.Machine, want)
	}
	return f, nil
}
