package bundle

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/image"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

const kindInventory = "Inventory"

// Inventory lists the blobs of a bundle. A delta can be packed with it where the bundle
// itself is not at hand. It needs no signature: a delta that leaves out too much is not
// accepted with its base.
type Inventory struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Bundle     Base            `json:"bundle"`
	Blobs      []digest.Digest `json:"blobs"` // sorted
}

// Inventory returns the blobs of b, those that a delta leaves out too.
func (b *Bundle) Inventory() *Inventory {
	i := &Inventory{
		APIVersion: manifests.APIVersion, Kind: kindInventory,
		Bundle: Base{Name: b.config.Name, Sequence: b.config.Sequence, Root: b.root}, Blobs: b.Blobs(),
	}
	slices.Sort(i.Blobs)
	return i
}

// ReadInventory reads an Inventory as JSON.
func ReadInventory(data []byte) (*Inventory, error) {
	i := &Inventory{}
	if err := strict.DecodeJSON(data, i); err != nil {
		return nil, fmt.Errorf("read inventory: %w", err)
	}
	if i.APIVersion != manifests.APIVersion || i.Kind != kindInventory || i.Bundle.Name == "" || i.Bundle.Sequence < 1 {
		return nil, errors.New("read inventory: is not the inventory of a bundle")
	}
	for _, d := range append([]digest.Digest{i.Bundle.Root}, i.Blobs...) {
		if err := image.Check(d, 0); err != nil {
			return nil, fmt.Errorf("read inventory: %w", err)
		}
	}
	slices.Sort(i.Blobs)
	return i, nil
}

// has reports whether the bundle has a blob.
func (i *Inventory) has(d digest.Digest) bool {
	_, ok := slices.BinarySearch(i.Blobs, d)
	return ok
}
