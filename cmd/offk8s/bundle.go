package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/mirror"
)

// trustOptions are the flags of every command that opens a bundle.
type trustOptions struct {
	keys     []string
	unsigned bool
	fresh    bool
	memory   keyMemory
}

func (o *trustOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&o.keys, "key", nil, "public key to trust, a file or sha256:FINGERPRINT (default $XDG_CONFIG_HOME/offk8s/offk8s.pub)")
	cmd.Flags().BoolVar(&o.unsigned, "insecure-allow-unsigned", false, "accept a bundle without a signature or, if there is no key, without checking it")
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

// open returns the options of bundle.Open for the flags.
func (o trustOptions) open() (bundle.OpenOptions, error) {
	histories, err := o.memory.load()
	if err != nil {
		return bundle.OpenOptions{}, err
	}
	out, err := o.pins()
	out.AllowUnsigned, out.Histories = o.unsigned, histories
	return out, err
}

// pins returns the options of bundle.Open for --key.
func (o trustOptions) pins() (bundle.OpenOptions, error) {
	var out bundle.OpenOptions
	var files []string
	for _, key := range o.keys {
		hex, ok := strings.CutPrefix(key, "sha256:")
		if !ok {
			files = append(files, key)
			continue
		}
		d := digest.NewDigestFromEncoded(digest.SHA256, strings.ToLower(hex))
		if err := d.Validate(); err != nil {
			return out, withHint(usagef("--key %q: %w", key, err), "offk8s keys show FILE prints the fingerprint of a public key: sha256: and 64 digits")
		}
		out.Fingerprints = append(out.Fingerprints, d.String())
	}
	if len(files) == 0 && len(out.Fingerprints) > 0 {
		return out, nil
	}
	var err error
	out.Keys, err = trustOptions{keys: files}.publicKeys()
	return out, err
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

// withBundle opens the bundle of args as openBundle does, and calls do unless the
// bundle is too old.
func (a *app) withBundle(ctx context.Context, o trustOptions, args []string, do func(*bundle.Bundle) error) (err error) {
	b, err := a.openBundle(ctx, o, args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := a.checkAge(b.Lock(), o.fresh); err != nil {
		return err
	}
	return do(b)
}

// openBundle opens the bundle at the first of paths, and its bases at the others; if there
// are none, it uses findBundle. It
// warns if no trusted key made the signature.
func (a *app) openBundle(ctx context.Context, o trustOptions, paths []string) (*bundle.Bundle, error) {
	paths, err := findBundle(paths)
	if err != nil {
		return nil, err
	}
	open, err := o.open()
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if _, files, err := bundle.Locate(path); err == nil && slices.Equal(files, []string{path}) {
			if err := checkTarball(path); err != nil {
				return nil, err
			}
		}
	}
	b, err := bundle.Open(ctx, paths, open)
	if err != nil {
		return nil, explainOpen(err)
	}
	return a.acceptSigner(o, b)
}

// acceptSigner returns b. It warns if no trusted key made the signature, and refuses b if
// it has none in spite of --key.
func (a *app) acceptSigner(o trustOptions, b *bundle.Bundle) (*bundle.Bundle, error) {
	if signer, ok := b.Signer(); ok {
		if b.Successor() {
			a.notef("bundle %q is signed by %s, which came after a key that you trust; give others this key from now on", b.Path(), signer)
		}
		text, err := encodeHistories(b.Histories())
		if err != nil {
			return nil, errors.Join(err, b.Close())
		}
		a.remember(o.memory, text)
		return b, nil
	}
	signed := b.HeadFile(bundle.MemberSignature) != nil
	if !signed && len(o.keys) > 0 {
		err := fmt.Errorf("bundle %q: %w, expected a signature by the given key", b.Path(), trust.ErrUnsigned)
		return nil, errors.Join(withHint(err, "get the signed bundle; without --key, --insecure-allow-unsigned accepts this one"), b.Close())
	}
	a.warnf("bundle %q: %s; anyone may have altered it", b.Path(), unchecked(signed, b.ClaimedSigner()))
	return b, nil
}

// unchecked describes the signature of a bundle that was opened without a key for
// it; claimed is the fingerprint that the bundle names, or empty.
func unchecked(signed bool, claimed string) string {
	switch {
	case signed && claimed != "":
		return "signature NOT checked: no key; it claims to be of " + claimed
	case signed:
		return "signature NOT checked: no key"
	}
	return "NOT signed"
}

// signerOf is the fingerprint of the key that signed the bundle, or the reason why
// there is none.
func signerOf(b *bundle.Bundle) string {
	if signer, ok := b.Signer(); ok {
		return signer.Fingerprint()
	}
	return unchecked(b.HeadFile(bundle.MemberSignature) != nil, b.ClaimedSigner())
}

// checkTarball returns an error unless name is a regular file.
func checkTarball(name string) error {
	const stream = "write it to a file first: offk8s reads a bundle at any offset, which a pipe does not allow"
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) && name == "-" {
		return withHint(usagef("bundle %q: standard input is no regular file", name), "%s", stream)
	}
	if err != nil {
		return usagef("bundle: %w", err)
	}
	if err := reader.Regular(info); err != nil {
		hint := stream
		if info.IsDir() {
			hint = "name the tarball: offk8s reads it in place, do not unpack it"
		}
		return withHint(usagef("bundle %q: %w", name, err), "%s", hint)
	}
	return nil
}

// kindHints are the remedies for a file that is no bundle.
var kindHints = map[tarfile.Kind]string{
	tarfile.KindEmpty:      "copy it again from the source",
	tarfile.KindCompressed: "decompress it, for example with gunzip: a bundle is a plain tar",
	tarfile.KindRepacked:   "use the file that offk8s pack wrote: one that was unpacked and packed again does not verify",
	tarfile.KindPEM:        "name a public key with --key, and the tarball without it",
	tarfile.KindForeign:    "name the tarball that offk8s pack wrote",
}

// explainOpen adds a hint to an error of bundle.Open if the one of its class does
// not fit.
func explainOpen(err error) error {
	if kind, ok := errors.AsType[*tarfile.KindError](err); ok {
		return withHint(err, "%s", kindHints[kind.Kind])
	}
	if errors.Is(err, bundle.ErrOtherBase) {
		return withHint(err, "only the base of a delta can be named after it; offk8s inspect shows which one a delta has")
	}
	if errors.Is(err, trust.ErrUnsigned) && !errors.Is(err, trust.ErrEmptySignature) {
		return withHint(err, "get a signed bundle; --insecure-allow-unsigned accepts this one")
	}
	if here := filepath.Base(publicPath(defaultKey())); errors.Is(err, trust.ErrNoKey) && exists(here) {
		return withHint(err, "there is an %s here: if it came separately from the bundle, or its fingerprint did, give --key %s", here, here)
	}
	return err
}

// newMirror returns a mirror of bundles: the checks that serve runs at start, for
// verify too.
func newMirror(bundles []*bundle.Bundle, o mirror.Options) (*mirror.Mirror, error) {
	m, err := mirror.New(bundles, o)
	switch {
	case err == nil:
		return m, nil
	case errors.Is(err, mirror.ErrConflict):
		return nil, withHint(usagef("serve %d bundles: %w", len(bundles), err),
			"bundles with different content under one name need a serve each, with another --listen")
	case len(bundles) > 1:
		return nil, fmt.Errorf("serve %d bundles: %w: %w", len(bundles), bundle.ErrVerify, err)
	}
	return nil, withHint(fmt.Errorf("bundle %q: %w: %w", bundles[0].Path(), bundle.ErrVerify, err),
		"no mirror can serve this bundle; pack it again without the names above")
}

// bundlePaths returns the bundles that names lead to, each once: a shell turns
// b.tar.part-* into the names of all parts.
func bundlePaths(names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		if err := notURL(name); err != nil {
			return nil, fmt.Errorf("bundle %w", err)
		}
		path, _, err := bundle.Locate(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, path) {
			out = append(out, path)
		}
	}
	return out, nil
}

// findBundle returns the bundle to use: the one given as an argument,
// $OFFK8S_BUNDLE, or the only one in the current directory. If there are
// several, the error lists them.
func findBundle(args []string) ([]string, error) {
	if len(args) > 0 {
		return bundlePaths(args)
	}
	if name := os.Getenv(bundleVariable); name != "" {
		return bundlePaths([]string{name})
	}
	names, err := filepath.Glob("*.tar")
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !looksLikeBundle(name) })
	lists, err := filepath.Glob("*.parts.json")
	if err != nil {
		return nil, err
	}
	found, err := bundlePaths(append(names, lists...))
	if err != nil {
		return nil, err
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
