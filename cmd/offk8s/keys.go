package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// passphrase is the source of a passphrase: a file or a prompt, never the value of a
// flag.
type passphrase struct {
	flag string // name
	file string // "" or "-": prompt
	none bool
}

func (p *passphrase) flags(cmd *cobra.Command) {
	p.flag = "passphrase-file"
	cmd.Flags().StringVar(&p.file, p.flag, "", "file whose first line is the passphrase (default: prompt)")
}

// read returns the passphrase. If confirm is set, it asks twice.
func (p *passphrase) read(a *app, prompt string, confirm bool) ([]byte, error) {
	if p.none {
		return nil, nil
	}
	if p.file != "" && p.file != "-" {
		b, err := readInput(p.file)
		if err != nil {
			return nil, usagef("--%s: %w", p.flag, err)
		}
		line, _, _ := bytes.Cut(b, []byte("\n"))
		return bytes.TrimSuffix(line, []byte("\r")), nil
	}
	tty, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(tty.Fd())) {
		return nil, withHint(usagef("%sthere is no terminal to ask on", prompt),
			"give --%s FILE", p.flag)
	}
	first, err := askSecret(a, tty, prompt)
	if err != nil || !confirm {
		return first, err
	}
	second, err := askSecret(a, tty, "again: ")
	if err == nil && !bytes.Equal(first, second) {
		err = usagef("the two passphrases differ")
	}
	return first, err
}

func askSecret(a *app, tty *os.File, prompt string) ([]byte, error) {
	fmt.Fprint(a.stderr, prompt)
	b, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(a.stderr)
	return b, err
}

func (a *app) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Generate, show, replace and revoke signing keys",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(a.keysGenerateCommand(), a.keysShowCommand(), a.keysRotateCommand(), a.keysRevokeCommand())
	return cmd
}

func (a *app) keysGenerateCommand() *cobra.Command {
	output, external := "", ""
	var pass passphrase
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Generate a signing key and its public key",
		Long: `Writes offk8s.key (mode 0600: a P-256 key that signs bundles and an OpenPGP key that
signs repository metadata, encrypted with a passphrase) and offk8s.pub, the
public key. Bring offk8s.pub, or its fingerprint, to the offline site separately
from the bundles: everything there is verified with it.

With --public-key, the P-256 key stays where it is, in hardware for example, and only the
key for repository metadata is generated. Commands that sign then need --sign-exec.`,
		Example: `  offk8s keys generate
  offk8s keys generate --public-key hsm.pub -o /safe/offk8s.key
  offk8s keys generate -o /safe/offk8s.key --passphrase-file pass.txt`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if output == "" {
				output = defaultKey()
			}
			secret, err := pass.read(a, "passphrase for the new key: ", true)
			if err != nil {
				return err
			}
			if len(secret) == 0 && !pass.none {
				return withHint(usagef("the passphrase is empty"), "give --no-passphrase to leave the key unencrypted")
			}
			generate, err := generator(external)
			if err != nil {
				return err
			}
			k, err := saveKey(output, secret, generate)
			if err != nil {
				return err
			}
			return a.showKey(k, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "key file to write; the public key is written beside it as .pub (default $XDG_CONFIG_HOME/offk8s/offk8s.key)")
	cmd.Flags().StringVar(&external, "public-key", "", "public key (PEM, P-256) of a key that stays elsewhere")
	pass.flags(cmd)
	cmd.Flags().BoolVar(&pass.none, "no-passphrase", false, "write the key unencrypted (0600)")
	exclude(cmd, "no-passphrase", pass.flag)
	return cmd
}

// generator returns the function that generates a key: one whose public key is in the file
// external and stays elsewhere, or a whole one if there is no such file.
func generator(external string) (func(time.Time) (*trust.KeyPair, error), error) {
	if external == "" {
		return trust.GenerateKeys, nil
	}
	public, err := readPublicKeys([]string{external})
	if err != nil {
		return nil, err
	}
	return func(t time.Time) (*trust.KeyPair, error) { return trust.GenerateExternal(public[0], t) }, nil
}

// saveKey writes a new key pair to path and publicPath(path). It never overwrites a file.
func saveKey(path string, secret []byte, generate func(time.Time) (*trust.KeyPair, error)) (*trust.KeyPair, error) {
	if filepath.Ext(path) == ".pub" {
		return nil, withHint(usagef("--output %q: is the name of a public key, want that of the private one", path), "did you mean -o %s?", strings.TrimSuffix(path, ".pub")+".key")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	k, err := generate(keyTime())
	if err != nil {
		return nil, err
	}
	if err := hintExists(path, k.SaveKeyFile(path, secret)); err != nil {
		return nil, err
	}
	public := publicPath(path)
	if b, err := os.ReadFile(public); err == nil && bytes.Equal(b, k.PublicPEM()) {
		return k, nil // that of --public-key
	}
	return k, hintExists(public, durable.Create(public, k.PublicPEM(), 0o644))
}

func defaultKey() string { return filepath.Join(configDir(), "offk8s.key") }

func publicPath(key string) string { return strings.TrimSuffix(key, ".key") + ".pub" }

// writtenKey is the result of keys generate and keys rotate.
type writtenKey struct {
	Key         string `json:"key"`         // file
	PublicKey   string `json:"publicKey"`   // file
	Fingerprint string `json:"fingerprint"` // of the key that signs bundles: "sha256:<hex>"
	OpenPGP     string `json:"openPGP"`     // fingerprint of the key that signs repositories, upper-case hex
}

func (a *app) showKey(k *trust.KeyPair, path string) error {
	ring, err := trust.ReadKeyring(k.OpenPGPPublic)
	if err != nil {
		return err
	}
	v := writtenKey{path, publicPath(path), k.Fingerprint(), strings.Join(ring.Fingerprints(), " ")}
	return a.result(v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "key          %s\npublic key   %s\nfingerprint  %s\nopenpgp      %s\n", v.Key, v.PublicKey, v.Fingerprint, v.OpenPGP)
		return err
	})
}

// maxPublicKeys bounds a file of public keys in bytes.
const maxPublicKeys = 4 << 20

// readPublicKeys reads every key of every file.
func readPublicKeys(files []string) ([]trust.PublicKey, error) {
	var keys []trust.PublicKey
	var errs []error
	for _, name := range files {
		if err := notURL(name); err != nil {
			errs = append(errs, fmt.Errorf("public key %w", err))
			continue
		}
		b, err := reader.ReadFile(name, maxPublicKeys)
		if err != nil {
			err = usagef("public key: %w", err)
			if strings.HasPrefix(name, "sha256:") {
				err = withHint(err, "give the file: this command needs the key itself, verify, inspect and serve take its fingerprint")
			} else if errors.Is(err, fs.ErrNotExist) {
				err = withHint(err, "%s", missingKeyHint())
			} else {
				err = withHint(err, "%s", publicKeyHint)
			}
			errs = append(errs, err)
			continue
		}
		k, err := trust.ParsePublicKeys(b)
		if err != nil {
			errs = append(errs, publicKeyError(name, err))
		}
		keys = append(keys, k...)
	}
	return keys, errors.Join(errs...)
}

// missingKeyHint says where public keys are.
func missingKeyHint() string {
	if file := publicPath(defaultKey()); exists(file) {
		return "there is one in " + file + ", which is used without --key"
	}
	return "copy it from the packing machine, where offk8s keys generate, or the first pack, wrote it as ~/.config/offk8s/offk8s.pub"
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// publicKeyError is the error of a file that holds no public key.
func publicKeyError(name string, err error) error {
	wrong := usagef("public key %q: %w", name, err)
	if errors.Is(err, trust.ErrPrivate) {
		return withHint(wrong, "give %s, which belongs to it; keep the signing key on the packing machine", publicPath(name))
	}
	return withHint(wrong, "%s", publicKeyHint)
}

const publicKeyHint = "a public key is a file such as offk8s.pub, which offk8s keys generate, or the first pack, wrote"

// signerOptions are the flags of every command that signs.
type signerOptions struct {
	key     string
	pass    passphrase
	exec    string
	timeout time.Duration
}

func (o *signerOptions) flags(cmd *cobra.Command) {
	o.flagsFor(cmd, "key", "signing key (default $XDG_CONFIG_HOME/offk8s/offk8s.key, which pack generates on first use)")
}

// flagsFor is flags with another name for --key.
func (o *signerOptions) flagsFor(cmd *cobra.Command, name, usage string) {
	cmd.Flags().StringVar(&o.key, name, "", usage)
	o.pass.flags(cmd)
	cmd.Flags().StringVar(&o.exec, "sign-exec", "", "program that signs for a key in hardware: bytes on stdin, signature on stdout (docs/keys.md)")
	cmd.Flags().DurationVar(&o.timeout, "sign-timeout", 5*time.Minute, "how long the program of --sign-exec may take for a signature")
}

// signingKey loads the key before the long work, since it may ask for a
// passphrase. It returns nil if the default key does not exist yet.
func (a *app) signingKey(ctx context.Context, o signerOptions) (*trust.KeyPair, error) {
	path := o.path()
	k, err := trust.LoadKeyFile(path, func() ([]byte, error) { return o.pass.read(a, "passphrase of "+path+": ", false) })
	if errors.Is(err, os.ErrNotExist) {
		if o.key == "" && o.exec == "" {
			return nil, nil
		}
		err = withHint(usageError{err}, "offk8s keys generate -o %s writes one", path)
	}
	switch {
	case errors.Is(err, trust.ErrKeyMode) && isPublicKey(path):
		return nil, withHint(usagef("%q is a public key, and cannot sign", path), "name the file with the signing key, such as offk8s.key, which is on the packing machine")
	case err != nil:
		return nil, err
	case o.exec != "":
		return k.WithSigner(a.signProgram(ctx, o, k.Fingerprint())), nil
	case k.External():
		return nil, fmt.Errorf("key file %q: %w", path, trust.ErrExternal)
	}
	return k, nil
}

func isPublicKey(path string) bool {
	b, err := reader.ReadFile(path, maxPublicKeys)
	if err == nil {
		_, err = trust.ParsePublicKeys(b)
	}
	return err == nil
}

// firstKey generates the default key on first use, and returns a function that writes its
// files: a pack that cannot begin leaves none.
func (a *app) firstKey() (*trust.KeyPair, func() error, error) {
	k, err := trust.GenerateKeys(keyTime())
	return k, func() error {
		path := defaultKey()
		if _, err := saveKey(path, nil, func(time.Time) (*trust.KeyPair, error) { return k, nil }); err != nil {
			return err
		}
		a.notef("generated the signing key %s (not encrypted); public key %s, fingerprint %s", path, publicPath(path), k.Fingerprint())
		return nil
	}, err
}

// keyTime is the time of a new key. It is backdated, because the clocks of the hosts that
// check it may be behind.
func keyTime() time.Time { return created().Add(-24 * time.Hour) }

// checkKeyTime returns an error if key is newer than lock: an OpenPGP signature
// cannot be older than its key.
func checkKeyTime(key *trust.KeyPair, lock *manifests.Lock) error {
	made, err := key.Made()
	if err != nil || !lock.Created.Before(made) {
		return err
	}
	return withHint(usagef("the signing key was generated at %s, the Lock was created before that, at %s",
		made.UTC().Format(time.RFC3339), lock.Created.UTC().Format(time.RFC3339)),
		"use the key that the Lock was packed with, or resolve again without --lock and SOURCE_DATE_EPOCH")
}
