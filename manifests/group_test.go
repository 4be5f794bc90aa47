package manifests

import "testing"

func TestGroups(t *testing.T) {
	tests := []struct {
		group string
		want  Group
	}{
		{GroupFiles, Group{Kind: "files"}},
		{YumGroup("rocky-9", "arm64"), Group{Kind: "yum", Distro: "rocky-9", Arch: "aarch64"}},
		{AptGroup("debian-12"), Group{Kind: "apt", Distro: "debian-12"}},
	}
	for _, tt := range tests {
		if got, ok := ParseGroup(tt.group); !ok || got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.group, got, tt.want)
		}
	}
	for _, s := range []string{"", "v2", "files/x", "yum/rocky-9", "yum/rocky-9/amd64", "yum/../x86_64", "apt", "apt/a/b", "apt/A"} {
		if g, ok := ParseGroup(s); ok {
			t.Errorf("%q is read as %+v", s, g)
		}
	}
}

func TestMachines(t *testing.T) {
	for _, machine := range []string{"aarch64", "arm64"} {
		if arch, ok := MachineArch(machine); !ok || arch != "arm64" || Machine(arch) != "aarch64" {
			t.Errorf("%s: %q", machine, arch)
		}
	}
	if arch, ok := MachineArch("riscv64"); ok || RPMArch("riscv64") != "riscv64" {
		t.Errorf("riscv64: %q", arch)
	}
}
