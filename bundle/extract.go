package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/manifests"
)

// ExtractFile writes the decoded content of f to <Group>/<Path> below dir, after
// verifying it. mode is that of the file; 0 means 0644. A file that exists is
// replaced.
func (b *Bundle) ExtractFile(ctx context.Context, dir *os.Root, f FileEntry, mode fs.FileMode) error {
	if mode == 0 {
		mode = 0o644
	}
	err := writeBelow(dir, f.Label(), mode, func(w io.Writer) error {
		r, err := b.Blob(f.Blob.Digest)
		if err != nil {
			return err
		}
		var content io.Reader = reader.Context(ctx, r)
		if f.MediaType == manifests.MediaTypeFileZstd {
			z, err := newZstdReader(content)
			if err != nil {
				return err
			}
			defer z.Close()
			content = decoding(z)
		}
		_, err = io.Copy(w, reader.Verify(content, f.Plain.Digest, f.Plain.Size))
		return err
	})
	return extractError(f.Label(), err)
}

// ExtractImage writes an image as an OCI image layout in a tar, which skopeo
// (oci-archive:) and ctr images import read, to <name>.tar below dir, in which
// slashes and colons of the name are underscores. All content is verified. It
// returns the name of the file.
func (b *Bundle) ExtractImage(ctx context.Context, dir *os.Root, e ImageEntry) (string, error) {
	name := imageFile(e) + ".tar"
	set := newBlobSet(b.readDocument)
	if err := set.addImage(e); err != nil {
		return name, badArtifact("extract", e.Name, err)
	}
	index, err := encode(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{e.Descriptor},
	})
	if err != nil {
		return name, err
	}
	err = writeBelow(dir, name, 0o644, func(w io.Writer) error {
		t := tarfile.NewWriter(w)
		if err := addHead(t, []headMember{{MemberLayout, []byte(layoutFile)}, {MemberIndex, index}}); err != nil {
			return err
		}
		for _, d := range set.sorted() {
			if err := b.addBlob(ctx, t, d); err != nil {
				return err
			}
		}
		return t.Close()
	})
	return name, extractError(e.Name, err)
}

// imageFile returns the name of an image as that of a file.
func imageFile(e ImageEntry) string {
	return strings.NewReplacer("/", "_", ":", "_", "@", "_").Replace(e.Name)
}

// ExtractImageDir writes an image byte for byte to a directory <name> below dir, in the
// form of containers-transports(5), "dir:". skopeo reads images in Docker's format from it,
// which it refuses in an OCI image layout. All content is verified; the manifest is
// written last. It returns the name of the directory.
func (b *Bundle) ExtractImageDir(ctx context.Context, dir *os.Root, e ImageEntry) (string, error) {
	name := imageFile(e)
	set := newBlobSet(b.readDocument)
	if err := set.addImage(e); err != nil {
		return name, badArtifact("extract", e.Name, err)
	}
	write := func(d digest.Digest, file string) error {
		return writeBelow(dir, name+"/"+file, 0o644, func(w io.Writer) error {
			r, err := b.Blob(d)
			if err == nil {
				_, err = io.Copy(w, reader.Verify(reader.Context(ctx, r), d, r.Size()))
			}
			return err
		})
	}
	err := writeBelow(dir, name+"/version", 0o644, func(w io.Writer) error {
		_, err := io.WriteString(w, "Directory Transport Version: 1.1\n")
		return err
	})
	for _, d := range set.sorted() {
		if err != nil {
			break
		}
		file := d.Encoded()
		if image.Known(set.blobs[d].MediaType) {
			file += ".manifest.json"
		}
		err = write(d, file)
	}
	if err == nil {
		err = write(e.Descriptor.Digest, "manifest.json")
	}
	return name, extractError(e.Name, err)
}

func (b *Bundle) addBlob(ctx context.Context, t *tarfile.Writer, d digest.Digest) error {
	r, err := b.Blob(d)
	if err != nil {
		return err
	}
	return t.Add(blobName(d), r.Size(), reader.Verify(reader.Context(ctx, r), d, r.Size()))
}

// writeBelow writes a file below dir that appears under its name only when write
// has succeeded.
func writeBelow(dir *os.Root, name string, mode fs.FileMode, write func(io.Writer) error) error {
	if err := dir.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	partial := name + partialSuffix
	f, err := dir.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Chmod(mode), f.Close())
	if err == nil {
		err = dir.Rename(partial, name)
	}
	if err != nil {
		return errors.Join(err, dir.Remove(partial))
	}
	return nil
}

// decoding marks errors of a decoder as wrong content.
func decoding(r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		if err != nil && err != io.EOF {
			err = fmt.Errorf("decode: %w: %w", reader.ErrMismatch, err)
		}
		return n, err
	})
}

// extractError names the artifact of an error, which is of class ErrVerify if the
// content is wrong.
func extractError(label string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, reader.ErrMismatch):
		return badArtifact("extract", label, err)
	}
	return fmt.Errorf("extract %q: %w", label, err)
}
