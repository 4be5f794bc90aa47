package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/durable"
)

// releasePrograms are the names of the programs in a directory of a release.
const releasePrograms = "offk8s-linux-???64"

// releaseCommand completes a release: make dist uses it.
func (a *app) releaseCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "release", Short: "Complete the directory of a release", Hidden: true}
	cmd.AddCommand(&cobra.Command{
		Use:   "sbom DIR",
		Short: "Write the bill of materials (CycloneDX) of each program in DIR beside it",
		Args:  cobra.ExactArgs(1),
		RunE:  func(_ *cobra.Command, args []string) error { return writeSBOMs(args[0]) },
	})
	var o signerOptions
	sums := &cobra.Command{
		Use:   "sums DIR",
		Short: "Write SHA256SUMS of the files in DIR and, with --key, its signature, as of a bundle's index.json",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.writeSums(cmd.Context(), args[0], o) },
	}
	o.flags(sums)
	cmd.AddCommand(sums)
	return cmd
}

func writeSBOMs(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, releasePrograms))
	if err != nil || len(files) == 0 {
		return usagef("%q has no files %s: %v", dir, releasePrograms, err)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		doc, err := bundle.ProgramSBOM(filepath.Base(file), f)
		_ = f.Close() // only read
		if err != nil {
			return err
		}
		b, err := json.MarshalIndent(doc, "", "  ")
		if err != nil {
			return err
		}
		if err := durable.WriteFile(file+".cdx.json", append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeSums writes SHA256SUMS, sorted by name. Without --key there is no signature, even if
// this user has a default key.
func (a *app) writeSums(ctx context.Context, dir string, o signerOptions) error {
	files, err := filepath.Glob(filepath.Join(dir, "offk8s-*"))
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		d, err := digest.FromReader(f)
		_ = f.Close() // only read
		if err != nil {
			return fmt.Errorf("digest of %q: %w", file, err)
		}
		fmt.Fprintf(&list, "%s  %s\n", d.Encoded(), filepath.Base(file))
	}
	sums := filepath.Join(dir, "SHA256SUMS")
	if err := durable.WriteFile(sums, []byte(list.String()), 0o644); err != nil || o.key == "" {
		return err
	}
	key, err := a.signingKey(ctx, o)
	if err != nil {
		return err
	}
	sig, err := key.SignIndex([]byte(list.String()))
	if err != nil {
		return err
	}
	return durable.WriteFile(sums+".sig", sig, 0o644)
}
