package bundle

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/manifests"
)

// lockContent returns the images and files that a complete Lock lists, sorted.
// All problems are reported, joined.
func lockContent(l *manifests.Lock) ([]ImageEntry, []FileEntry, error) {
	var images []ImageEntry
	var files []FileEntry
	var errs []error
	for _, a := range l.Artifacts {
		if a.Blob.Digest == "" {
			errs = append(errs, &ArtifactError{"lock", a.Name, errors.New("has no blob: it was not fetched")})
			continue
		}
		if a.Kind == manifests.KindImage {
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
	return ImageEntry{
		Name: a.Name,
		Descriptor: ocispec.Descriptor{
			MediaType:   a.Blob.MediaType,
			Digest:      a.Blob.Digest,
			Size:        a.Blob.Size,
			Annotations: map[string]string{ocispec.AnnotationRefName: a.Name},
		},
		Absent: a.Absent,
	}
}

func fileOf(a manifests.Artifact) FileEntry {
	f := FileEntry{Group: a.Group, Path: a.Path, Blob: a.Blob, Plain: a.Plain}
	return f.normal()
}

// normal fills in what an entry may leave out: the media types, and Plain of a
// file that is stored as it is.
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
			errs = append(errs, &ArtifactError{"lock", images[i].Name, errors.New("image is there twice")})
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
			errs = append(errs, &ArtifactError{"lock", files[i].Label(), errors.New("file is there twice")})
		}
	}
	return errors.Join(errs...)
}

// Label returns what a person calls the file: "<group>/<path>".
func (f FileEntry) Label() string { return f.Group + "/" + f.Path }

// evidence is what identifies the content of f, stored and plain.
func (f FileEntry) evidence() string {
	return fmt.Sprintf("%s %s (%d bytes), plain %s (%d bytes)", f.MediaType, f.Blob.Digest, f.Blob.Size, f.Plain.Digest, f.Plain.Size)
}

// configOf returns the config blob that belongs to a Lock.
func configOf(l *manifests.Lock, keys []string) Config {
	c := Config{
		Name: l.Name, Sequence: l.Sequence, Created: l.Created.UTC(),
		Previous: l.Previous, Keys: keys,
	}
	if !l.Expires.IsZero() {
		c.Expires = l.Expires.UTC()
	}
	if c.Keys == nil {
		c.Keys = []string{}
	}
	return c
}

// matchLock demands that a bundle holds what its Lock lists, byte for byte the
// same descriptors, and beyond that only metadata of repositories.
func matchLock(l *manifests.Lock, images []ImageEntry, files []FileEntry) error {
	wantImages, wantFiles, err := lockContent(l)
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
	have := map[string]FileEntry{}
	for _, f := range files {
		have[f.Label()] = f
	}
	var errs []error
	for _, f := range want {
		if got, ok := have[f.Label()]; !ok {
			errs = append(errs, badArtifact("open", f.Label(), errors.New("lock has this file, the bundle does not")))
		} else if got != f {
			errs = append(errs, badArtifact("open", f.Label(), fmt.Errorf("lock says %s, bundle has %s", f.evidence(), got.evidence())))
		}
		delete(have, f.Label())
	}
	for label, f := range have {
		if kind, _ := artifactType(f.Group); kind != manifests.ArtifactTypeRepository {
			errs = append(errs, badArtifact("open", label, errors.New("file is not in the lock")))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}
