package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/manifests"
)

// imageKeyFlag adds --image-key.
func imageKeyFlag(cmd *cobra.Command, values *[]string) {
	cmd.Flags().StringArrayVar(values, "image-key", nil, "PREFIX=FILE: images that begin with PREFIX must be signed by this public key, as cosign signs")
}

// parseImageKeys returns the requirements of --image-key.
func parseImageKeys(values []string) ([]manifests.ManifestSignature, error) {
	var out []manifests.ManifestSignature
	var errs []error
	for _, s := range values {
		prefix, file, ok := strings.Cut(s, "=")
		if !ok || prefix == "" || file == "" {
			errs = append(errs, fmt.Errorf("--image-key %q: want PREFIX=FILE", s))
			continue
		}
		out = append(out, manifests.ManifestSignature{Images: prefix, Key: file})
	}
	return out, errors.Join(errs...)
}

// imageSigners reads the keys of requirements.
func imageSigners(list []manifests.ManifestSignature) ([]bundle.ImageSigner, error) {
	var out []bundle.ImageSigner
	var errs []error
	for _, s := range list {
		text, err := readInput(s.Key)
		if err != nil {
			errs = append(errs, fmt.Errorf("key of the images of %q: %w", s.Images, err))
			continue
		}
		signer, err := bundle.ReadImageSigner(s.Images, s.Key, text)
		errs = append(errs, err)
		out = append(out, signer)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, usageError{err}
	}
	return out, nil
}
