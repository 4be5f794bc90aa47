package upstreamtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests/catalog"
)

// addReleases makes every component of the releases, and the
// checksum file beside each, as upstreams have.
func (w *world) addReleases() error {
	releases, err := w.releases()
	if err != nil {
		return err
	}
	for _, r := range releases {
		for _, d := range r.Components {
			for arch, remote := range d.Arches {
				content, err := download(d, arch)
				if err != nil {
					return err
				}
				w.put(remote.URL, content)
				w.put(remote.URL+".sha256", []byte(digest.FromBytes(content).Encoded()+"\n"))
			}
		}
	}
	return nil
}

// download is the binary or the archive of a component.
func download(d catalog.Download, arch string) ([]byte, error) {
	if len(d.Members) == 0 {
		return script(d.Name, d.Version, arch), nil
	}
	members := map[string][]byte{"README": []byte("made up\n")}
	for _, m := range d.Members {
		m = strings.ReplaceAll(m, "{arch}", arch)
		members[m] = script(path.Base(m), d.Version, arch)
	}
	return tarGz(members, 0o755)
}

// script is a shell script of some size that prints its name and version.
func script(name, version, arch string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "#!/bin/sh\n# Stands for %s %s on linux/%s.\n", name, version, arch)
	for i := range 200 {
		fmt.Fprintf(&b, "# %s\n", digest.FromString(fmt.Sprint(name, version, arch, i)).Encoded())
	}
	fmt.Fprintf(&b, "echo %s %s\n", name, version)
	return b.Bytes()
}

// tarGz packs files, sorted by name, the same bytes each time.
func tarGz(files map[string][]byte, mode int64) ([]byte, error) {
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		h := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(files[name])), ModTime: Built, Format: tar.FormatUSTAR}
		if err := tw.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := tw.Write(files[name]); err != nil {
			return nil, err
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// SelfBinary returns a tiny static ELF program for linux on arch ("amd64" or
// "arm64"), which only exits with code 0. It replaces the offk8s binary
// in tests that do not need a working one.
func SelfBinary(arch string) []byte {
	machine, code := uint16(62), []byte{0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05}
	if arch == "arm64" {
		machine = 183
		code = []byte{0x00, 0x00, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4}
	}
	const base, entry = 0x400000, 64 + 56
	size := uint64(entry + len(code))
	var b bytes.Buffer
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	little(&b, uint16(2), machine, uint32(1), uint64(base+entry), uint64(64), uint64(0), uint32(0))
	little(&b, uint16(64), uint16(56), uint16(1), uint16(64), uint16(0), uint16(0))
	little(&b, uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(0x1000))
	b.Write(code)
	return b.Bytes()
}
