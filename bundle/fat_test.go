package bundle_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/test/testenv"
)

// fatImage makes a file with a FAT32 file system.
func fatImage(t *testing.T) string {
	t.Helper()
	testenv.NeedTool(t, "mkfs.vfat")
	image := filepath.Join(t.TempDir(), "stick.img")
	write(t, image, nil)
	if err := os.Truncate(image, 64<<20); err != nil { // FAT32 needs 65,525 clusters
		t.Fatal(err)
	}
	command(t, "mkfs.vfat", "-F", "32", "-s", "1", "-n", "STICK", image)
	return image
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// TestPartsOnFAT32 carries a bundle in parts on a FAT32 file system, which mtools writes
// and reads, and loses one of them there.
func TestPartsOnFAT32(t *testing.T) {
	testenv.NeedTool(t, "mcopy", "mdel")
	image := fatImage(t)
	files := split(t, large(t), filepath.Join(t.TempDir(), "b.tar"), partSize)
	command(t, "mcopy", append(append([]string{"-i", image}, files...), "::/")...)
	back := t.TempDir()
	command(t, "mcopy", "-i", image, "::/*", back)
	path := filepath.Join(back, "b.tar")
	for _, name := range files {
		if got := read(t, filepath.Join(back, filepath.Base(name))); !bytes.Equal(got, read(t, name)) {
			t.Errorf("%s came back with %d bytes, or others", filepath.Base(name), len(got))
		}
	}
	if err := verifyAt(t, path); err != nil {
		t.Error(err)
	}

	command(t, "mdel", "-i", image, "::/b.tar.part-002")
	lossy := t.TempDir()
	command(t, "mcopy", "-i", image, "::/*", lossy)
	err := verifyAt(t, filepath.Join(lossy, "b.tar"))
	if !errors.Is(err, bundle.ErrPart) || !strings.Contains(err.Error(), `b.tar.part-002": is missing: expected part 2 of 4`) {
		t.Errorf("a stick without part 2: %v", err)
	}
}

// TestKernelWithFAT32 starts a kernel that mounts a FAT32 image, a Linux in user mode, and
// runs TestMountedFAT32 in it. OFFK8S_UML is that kernel, such as linux.uml.
func TestKernelWithFAT32(t *testing.T) {
	uml := os.Getenv("OFFK8S_UML")
	if uml == "" {
		t.Skip("OFFK8S_UML names no kernel") // make fat32
	}
	testenv.NeedRoot(t)
	testenv.NeedTool(t, uml)
	image, dir := fatImage(t), t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	start, output := filepath.Join(dir, "init"), filepath.Join(dir, "output")
	write(t, start, fmt.Appendf(nil, `#!/bin/sh
mount -t proc proc /proc
OFFK8S_FAT=/dev/ubda %s -test.run='^TestMountedFAT32$' -test.v >%s 2>&1
sync
halt -f
`, self, output))
	if err := os.Chmod(start, 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, uml, "mem=512M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "ubd0="+image, "init="+start, "quiet", "con=null", "con0=null,fd:1")
	if got := string(read(t, output)); !strings.Contains(got, "--- PASS: TestMountedFAT32") {
		t.Errorf("in the kernel with FAT32:\n%s", got)
	}
}

// TestMountedFAT32 writes parts on a mounted FAT32 file system, which AutoSplit
// recognizes, replaces them, and reads the bundle as it lies.
func TestMountedFAT32(t *testing.T) {
	device := os.Getenv("OFFK8S_FAT")
	if device == "" {
		t.Skip("OFFK8S_FAT names no device with FAT32") // TestKernelWithFAT32
	}
	for _, m := range []string{"fat/fat", "fat/vfat", "nls/nls_cp437", "nls/nls_ascii"} {
		insertModule(t, m)
	}
	dir := t.TempDir()
	if err := unix.Mount(device, dir, "vfat", 0, "iocharset=ascii"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	path := filepath.Join(dir, "b.tar")
	if most, err := bundle.AutoSplit(path); most != bundle.MaxFAT || err != nil {
		t.Errorf("AutoSplit on FAT32 is %d, %v, want %d", most, err, int64(bundle.MaxFAT))
	}
	for _, size := range []int64{partSize, 2 * partSize, bundle.MaxFAT} {
		files := split(t, large(t), path, size)
		if len(files) != map[int64]int{partSize: 5, 2 * partSize: 3, bundle.MaxFAT: 1}[size] {
			t.Errorf("parts of %d bytes: %q", size, files)
		}
		if err := verifyAt(t, path); err != nil {
			t.Errorf("parts of %d bytes: %v", size, err)
		}
	}
}

// insertModule loads a module of the running kernel in user mode.
func insertModule(t *testing.T, name string) {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join("/usr/lib/uml/modules", unix.ByteSliceToString(u.Release[:]), "kernel/fs", name+".ko"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
		t.Fatalf("module %s: %v", name, err)
	}
}
