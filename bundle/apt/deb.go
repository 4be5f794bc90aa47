package apt

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/bundle/reader"
)

// Limits of a .deb before anything in it is believed.
const (
	maxControlOpen = 256 << 20 // bytes of the control archive up to the control file
	maxControl     = 1 << 20   // bytes of the control file
	maxArMembers   = 16
)

// PackageMeta holds the index entry of one package, read from its control file.
type PackageMeta struct {
	Name, Version, Arch string
	Digest              digest.Digest // sha256 of the .deb
	Size                int64         // bytes of the .deb
	Path                string        // in our repository

	control *stanza
}

// FromDeb reads the control file of a package of the given size and digest,
// which our repository keeps at path (see Package.Path). A caller that downloaded it as
// a certain package compares Name, Version and Arch.
func FromDeb(r io.ReaderAt, size int64, d digest.Digest, path string) (PackageMeta, error) {
	if d.Algorithm() != digest.SHA256 {
		return PackageMeta{}, fmt.Errorf("package %q: digest %q, want sha256", path, d)
	}
	control, err := readControl(io.NewSectionReader(r, 0, size))
	if err != nil {
		return PackageMeta{}, fmt.Errorf("package %q: %w", path, err)
	}
	m := PackageMeta{
		Name: control.get("Package"), Version: control.get("Version"), Arch: control.get("Architecture"),
		Digest: d, Size: size, Path: path, control: control,
	}
	if _, err := checkIdentity(m.Name, m.Version, m.Arch); err != nil {
		return PackageMeta{}, fmt.Errorf("package %q: %w", path, err)
	}
	return m, nil
}

// readControl finds control.tar* in the ar archive (deb(5)).
func readControl(r *io.SectionReader) (*stanza, error) {
	magic := make([]byte, 8)
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != "!<arch>\n" {
		return nil, errors.New("not a .deb: no ar archive")
	}
	offset := int64(len(magic))
	for n := range maxArMembers {
		name, length, err := arHeader(r, offset)
		if err != nil {
			return nil, fmt.Errorf("ar member %d: %w", n+1, err)
		}
		if n == 0 && name != "debian-binary" {
			return nil, fmt.Errorf("not a .deb: starts with %q", name)
		}
		offset += arHeaderSize
		if suffix, ok := strings.CutPrefix(name, "control.tar"); ok {
			if offset+length > r.Size() {
				return nil, io.ErrUnexpectedEOF
			}
			return controlFile(io.NewSectionReader(r, offset, length), suffix)
		}
		offset += length + length%2
	}
	return nil, errors.New("not a .deb: no control.tar")
}

const arHeaderSize = 60

// arHeader reads name and length of the member at offset.
func arHeader(r io.ReaderAt, offset int64) (string, int64, error) {
	h := make([]byte, arHeaderSize)
	if _, err := r.ReadAt(h, offset); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return "", 0, err
	}
	if string(h[58:]) != "`\n" {
		return "", 0, errors.New("bad header")
	}
	length, err := strconv.ParseInt(strings.TrimSpace(string(h[48:58])), 10, 64)
	if err != nil || length < 0 {
		return "", 0, fmt.Errorf("length %q", h[48:58])
	}
	return strings.TrimSuffix(strings.TrimSpace(string(h[:16])), "/"), length, nil
}

// controlFile reads the file "control" of a control archive.
func controlFile(r io.Reader, suffix string) (*stanza, error) {
	if !slices.Contains([]string{"", ".gz", ".xz", ".zst"}, suffix) {
		return nil, fmt.Errorf("control.tar%s: unknown compression", suffix)
	}
	content, err := metadata.Decompress(r)
	if err != nil {
		return nil, fmt.Errorf("control.tar%s: %w", suffix, err)
	}
	defer content.Close()
	archive := tar.NewReader(reader.Limit(content, maxControlOpen))
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("control archive without a control file")
		}
		if err != nil {
			return nil, fmt.Errorf("control.tar%s: %w", suffix, err)
		}
		if path.Clean(h.Name) != "control" || h.Typeflag != tar.TypeReg {
			continue
		}
		b, err := io.ReadAll(reader.Limit(archive, maxControl))
		if err != nil {
			return nil, fmt.Errorf("control file: %w", err)
		}
		s, err := oneStanza(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("control file: %w", err)
		}
		return s, nil
	}
}
