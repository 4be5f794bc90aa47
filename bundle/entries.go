package bundle

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/manifests"
)

// ImageEntry is one image of a bundle.
type ImageEntry struct {
	Name       string             // as upstream: "registry.k8s.io/pause:3.10"
	Descriptor ocispec.Descriptor // of the index or manifest, as upstream serves it
	// Absent are the platform manifests of the index that the bundle does not hold.
	Absent []digest.Digest
}

// FileEntry is one file that the mirror serves at /<Group>/<Path>.
type FileEntry struct {
	Group string // "files", "yum/<distro>/<arch>", "apt/<distro>"
	Path  string
	// MediaType is manifests.MediaTypeFile, or MediaTypeFileZstd if Blob is the
	// zstd-compressed form of Plain.
	MediaType string
	Blob      manifests.Descriptor // as stored
	Plain     manifests.Descriptor // decoded content; equal to Blob if it is not compressed
}

// Label returns "<group>/<path>", the name of the file in messages.
func (f FileEntry) Label() string { return f.Group + "/" + f.Path }

// layer returns the descriptor of a file within its artifact.
func layer(f FileEntry) ocispec.Descriptor {
	d := ocispec.Descriptor{
		MediaType:   f.MediaType,
		Digest:      f.Blob.Digest,
		Size:        f.Blob.Size,
		Annotations: map[string]string{ocispec.AnnotationTitle: f.Path},
	}
	if f.MediaType == manifests.MediaTypeFileZstd {
		d.Annotations[manifests.AnnotationPlainDigest] = f.Plain.Digest.String()
		d.Annotations[manifests.AnnotationPlainSize] = strconv.FormatInt(f.Plain.Size, 10)
	}
	return d
}

// fileEntry is the inverse of layer.
func fileEntry(group string, d ocispec.Descriptor) (FileEntry, error) {
	f := FileEntry{
		Group: group, Path: d.Annotations[ocispec.AnnotationTitle], MediaType: d.MediaType,
		Blob: manifests.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size},
	}
	f.Plain = f.Blob
	if d.MediaType == manifests.MediaTypeFileZstd {
		size, err := strconv.ParseInt(d.Annotations[manifests.AnnotationPlainSize], 10, 64)
		if err != nil {
			return FileEntry{}, fmt.Errorf("plain size: %w", err)
		}
		f.Plain = manifests.Descriptor{
			MediaType: manifests.MediaTypeFile,
			Digest:    digest.Digest(d.Annotations[manifests.AnnotationPlainDigest]),
			Size:      size,
		}
	}
	return f, f.check()
}

// check returns an error for an entry that a bundle cannot hold.
func (f FileEntry) check() error {
	if _, err := artifactType(f.Group); err != nil {
		return err
	}
	if err := tarfile.CheckName(f.Path); err != nil {
		return fmt.Errorf("path: %w", err)
	}
	if f.MediaType != manifests.MediaTypeFile && f.MediaType != manifests.MediaTypeFileZstd {
		return fmt.Errorf("media type %q, expected %q or %q", f.MediaType, manifests.MediaTypeFile, manifests.MediaTypeFileZstd)
	}
	for _, d := range []manifests.Descriptor{f.Blob, f.Plain} {
		if err := image.Check(d.Digest, d.Size); err != nil {
			return err
		}
	}
	return nil
}

// lockEntries returns the images and files of a complete Lock, sorted. The error
// joins all problems.
func lockEntries(l *manifests.Lock) ([]ImageEntry, []FileEntry, error) {
	var images []ImageEntry
	files := make([]FileEntry, 0, len(l.Artifacts))
	var errs []error
	for _, a := range l.Artifacts {
		if a.Blob.Digest == "" {
			errs = append(errs, &ArtifactError{"lock", a.Name, errors.New("has no blob: it was not fetched")})
			continue
		}
		if a.Kind.InRegistry() {
			images = append(images, imageOf(a))
			continue
		}
		f := fileOf(a)
		if err := f.check(); err != nil {
			errs = append(errs, &ArtifactError{"lock", a.Name, err})
		}
		files = append(files, f)
	}
	errs = append(errs, sortImages(images), sortFiles(files))
	return images, files, errors.Join(errs...)
}

func imageOf(a manifests.Artifact) ImageEntry {
	return ImageEntry{Name: a.Name, Descriptor: imageDescriptor(a.Name, a.Blob), Absent: a.Absent}
}

// imageDescriptor returns the descriptor of an image in index.json.
func imageDescriptor(name string, d manifests.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: d.MediaType, Digest: d.Digest, Size: d.Size,
		Annotations: map[string]string{ocispec.AnnotationRefName: name},
	}
}

func fileOf(a manifests.Artifact) FileEntry {
	f := FileEntry{Group: a.Group, Path: a.Path, Blob: a.Blob, Plain: a.Plain}
	return f.normal()
}

// normal fills in the fields that may be empty: the media types, and Plain of a
// file that is not compressed.
func (f FileEntry) normal() FileEntry {
	if f.MediaType = f.Blob.MediaType; f.MediaType == "" {
		f.MediaType = manifests.MediaTypeFile
	}
	f.Blob.MediaType = f.MediaType
	if f.MediaType != manifests.MediaTypeFileZstd && f.Plain.Digest == "" {
		f.Plain = f.Blob
	}
	f.Plain.MediaType = manifests.MediaTypeFile
	return f
}

func sortImages(images []ImageEntry) error {
	slices.SortFunc(images, func(a, b ImageEntry) int { return strings.Compare(a.Name, b.Name) })
	var errs []error
	for i := range images {
		if i > 0 && images[i].Name == images[i-1].Name {
			errs = append(errs, &ArtifactError{"lock", images[i].Name, errors.New("duplicate image")})
		}
	}
	return errors.Join(errs...)
}

func sortFiles(files []FileEntry) error {
	slices.SortFunc(files, func(a, b FileEntry) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Path, b.Path))
	})
	var errs []error
	for i := range files {
		if i > 0 && files[i].Group == files[i-1].Group && files[i].Path == files[i-1].Path {
			errs = append(errs, &ArtifactError{"lock", files[i].Label(), errors.New("duplicate file")})
		}
	}
	return errors.Join(errs...)
}

// evidence describes the content of f, stored and plain, for an error.
func (f FileEntry) evidence() string {
	return fmt.Sprintf("%s %s (%d bytes), plain %s (%d bytes)", f.MediaType, f.Blob.Digest, f.Blob.Size, f.Plain.Digest, f.Plain.Size)
}

// matchLock checks that a bundle holds the images and files of its Lock, with
// the same descriptors, and no others except for metadata of repositories.
func matchLock(l *manifests.Lock, images []ImageEntry, files []FileEntry) error {
	wantImages, wantFiles, err := lockEntries(l)
	if err != nil {
		return err
	}
	var errs []error
	have := map[string]ocispec.Descriptor{}
	for _, e := range images {
		have[e.Name] = e.Descriptor
	}
	for _, e := range wantImages {
		want, got := e.Descriptor, have[e.Name]
		if want.Digest != got.Digest || want.Size != got.Size || want.MediaType != got.MediaType {
			errs = append(errs, badArtifact("open", e.Name, fmt.Errorf("lock says %s, index.json %q", want.Digest, got.Digest)))
		}
		delete(have, e.Name)
	}
	for name := range have {
		errs = append(errs, badArtifact("open", name, errors.New("image is not in the lock")))
	}
	return errors.Join(append(errs, matchFiles(wantFiles, files))...)
}

func matchFiles(want, files []FileEntry) error {
	have := make(map[string]*FileEntry, len(files))
	for i := range files {
		have[files[i].Label()] = &files[i]
	}
	var errs []error
	for _, f := range want {
		label := f.Label()
		if got, ok := have[label]; !ok {
			errs = append(errs, badArtifact("open", label, errors.New("lock has this file, the bundle does not")))
		} else if *got != f {
			errs = append(errs, badArtifact("open", label, fmt.Errorf("lock says %s, bundle has %s", f.evidence(), got.evidence())))
		}
		delete(have, label)
	}
	for label, f := range have {
		if kind, _ := artifactType(f.Group); kind != manifests.ArtifactTypeRepository {
			errs = append(errs, badArtifact("open", label, errors.New("file is not in the lock")))
		}
	}
	manifests.SortErrors(errs)
	return errors.Join(errs...)
}
