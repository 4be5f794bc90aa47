package main

import (
	"archive/tar"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// trustOptions are the flags of every command that opens a bundle.
type trustOptions struct {
	keys     []string
	unsigned bool
	fresh    bool
}

func (o *trustOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&o.keys, "key", nil, "public key to trust (default $XDG_CONFIG_HOME/offk8s/offk8s.pub)")
	cmd.Flags().BoolVar(&o.unsigned, "insecure-allow-unsigned", false, "accept an unsigned bundle")
	freshFlag(cmd, &o.fresh)
}

func freshFlag(cmd *cobra.Command, fresh *bool) {
	cmd.Flags().BoolVar(fresh, "require-fresh", false, "refuse an expired bundle instead of warning")
}

// checkAge warns about an expired bundle, or returns an error if require is set.
func (a *app) checkAge(lock *manifests.Lock, require bool) error {
	err := lock.CheckAge(time.Now())
	if err != nil && !require {
		a.warnf("%v", err)
		return nil
	}
	return err
}

// publicKeys reads the trusted keys. Without --key it uses the default key of
// this user, if there is one.
func (o trustOptions) publicKeys() ([]trust.PublicKey, error) {
	if len(o.keys) > 0 {
		return readPublicKeys(o.keys)
	}
	keys, err := readPublicKeys([]string{publicPath(defaultKey())})
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // Open reports the missing key
	}
	return keys, err
}

// open opens the bundle at paths; if there are none, it uses findBundle.
func (o trustOptions) open(ctx context.Context, paths []string) (*bundle.Bundle, error) {
	paths, err := findBundle(paths)
	if err != nil {
		return nil, err
	}
	keys, err := o.publicKeys()
	if err != nil {
		return nil, err
	}
	for _, name := range paths {
		if _, err := os.Stat(name); err != nil {
			return nil, usagef("bundle: %w", err)
		}
	}
	return bundle.Open(ctx, paths, bundle.OpenOptions{Keys: keys, AllowUnsigned: o.unsigned})
}

// findBundle returns the bundle to use: the one given as an argument,
// $OFFK8S_BUNDLE, or the only one in the current directory. If there are
// several, the error lists them.
func findBundle(args []string) ([]string, error) {
	if len(args) > 0 {
		return args, nil
	}
	if name := os.Getenv("OFFK8S_BUNDLE"); name != "" {
		return []string{name}, nil
	}
	names, err := filepath.Glob("*.tar")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, name := range names {
		if looksLikeBundle(name) {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 1:
		return found, nil
	case 0:
		return nil, withHint(usagef("no bundle given and none in this directory"), "name it, or set OFFK8S_BUNDLE")
	default:
		return nil, withHint(usagef("several bundles in this directory: %s", strings.Join(found, ", ")), "name one of them")
	}
}

// looksLikeBundle reports whether a tar file starts like a bundle. Only Open
// checks that it is one.
func looksLikeBundle(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	h, err := tar.NewReader(f).Next()
	return err == nil && h.Name == "oci-layout"
}
