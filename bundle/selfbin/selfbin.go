// Package selfbin checks binaries of offk8s before they are packed, or copied to
// a host: ELF, for the right machine, and able to run on a bare Linux host.
package selfbin

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/offk8s/offk8s/bundle/reader"
)

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// ErrDynamic means that a binary needs libraries of the host that it runs on.
var ErrDynamic = errors.New("is dynamically linked, want a static program")

// ErrMachine means that a file is not a program, or one of another architecture.
var ErrMachine = errors.New("is not a Linux program of that architecture")

// Check returns an error unless path is a statically linked executable for
// linux/arch. arch is Go's name: "amd64" or "arm64".
func Check(path, arch string) error {
	f, err := open(path, arch)
	if err == nil {
		defer f.Close()
		err = static(f)
	}
	if err != nil {
		return fmt.Errorf("%q %w", path, err)
	}
	return nil
}

// CheckMachine returns an error unless path is an ELF file for arch. A host of
// another architecture would only report "exec format error".
func CheckMachine(path, arch string) error {
	f, err := open(path, arch)
	if err != nil {
		return fmt.Errorf("%q %w", path, err)
	}
	return f.Close()
}

// open opens an ELF file and checks its machine.
func open(path, arch string) (*elf.File, error) {
	want, ok := machines[arch]
	if !ok {
		return nil, fmt.Errorf("cannot be checked: architecture %q is not known", arch)
	}
	if info, err := os.Stat(path); err == nil { // opening a named pipe waits for its writer
		if err := reader.Regular(info); err != nil {
			return nil, err
		}
	}
	f, err := elf.Open(path)
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("cannot be read: %w", err)
	} else if err != nil {
		return nil, fmt.Errorf("%w: not an ELF file: %w", ErrMachine, err)
	}
	if f.Machine != want || f.Class != elf.ELFCLASS64 {
		f.Close()
		return nil, fmt.Errorf("%w: found %s, want %s", ErrMachine, f.Machine, want)
	}
	return f, nil
}

// static returns an error unless f is an executable that needs no other file.
func static(f *elf.File) error {
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return fmt.Errorf("is %s, want an executable", f.Type)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return ErrDynamic
		}
	}
	if libs, err := f.ImportedLibraries(); err == nil && len(libs) > 0 {
		return fmt.Errorf("%w: needs %s", ErrDynamic, libs[0])
	}
	return nil
}
