package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle/trust"
)

// rotateOptions are the flags of keys rotate.
type rotateOptions struct {
	signer   signerOptions
	output   string
	pass     passphrase // of the new key
	external string
	until    string
	revoke   bool
}

func (a *app) keysRotateCommand() *cobra.Command {
	var o rotateOptions
	cmd := &cobra.Command{
		Use:   "rotate -o NEW",
		Short: "Generate the key that comes after a signing key",
		Long: `Generates a new signing key, and lets the old one sign a statement that names it. Bundles
of the new key carry the statement, so that verifiers who trust the old public key accept
them. The old key file cannot sign after that; bundles that it has signed stay good, unless
--until or --revoke end that.

Exit status: 0 done; 1 the program of --sign-exec failed; 2 usage;
5 the old key was replaced before; 12 wrong passphrase.`,
		Example: `  offk8s keys rotate --key offk8s.key -o new.key
  offk8s keys rotate --key offk8s.key -o new.key --until 2027-06-30
  offk8s keys rotate --key stolen.key -o new.key --revoke`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.rotateKey(cmd.Context(), o) },
	}
	o.signer.flags(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "key file to write; the public key is written beside it as .pub")
	o.pass.flag = "new-passphrase-file"
	f.StringVar(&o.pass.file, o.pass.flag, "", "file whose first line is the passphrase of the new key (default: prompt)")
	f.BoolVar(&o.pass.none, "no-passphrase", false, "write the new key unencrypted (0600)")
	exclude(cmd, "no-passphrase", o.pass.flag)
	f.StringVar(&o.external, "public-key", "", "public key (PEM, P-256) of a new key that stays elsewhere")
	f.StringVar(&o.until, "until", "", "last day (YYYY-MM-DD) on which bundles of the old key are accepted (default: no end)")
	f.BoolVar(&o.revoke, "revoke", false, "revoke the old key at once")
	return cmd
}

func (a *app) rotateKey(ctx context.Context, o rotateOptions) error {
	if o.output == "" {
		return withHint(usagef("rotate: no output file"), "give -o NEW")
	}
	s := trust.Statement{Created: created()}
	if o.until != "" {
		day, err := time.Parse(time.DateOnly, o.until)
		if err != nil {
			return usagef("--until %q: want a day such as 2027-06-30", o.until)
		}
		s.Until = day.Add(24*time.Hour - time.Second)
		if s.Until.Before(s.Created) {
			return withHint(usagef("--until %s: the day has passed, want %s or a later one", o.until, s.Created.Format(time.DateOnly)), "--revoke ends what the old key signed at once")
		}
	}
	old, err := a.presentKey(ctx, o.signer)
	if err != nil {
		return err
	}
	if o.revoke {
		s.Revoked = []string{old.Fingerprint()}
	}
	secret, err := o.pass.read(a, "passphrase for the new key: ", true)
	if err != nil {
		return err
	}
	if len(secret) == 0 && !o.pass.none {
		return withHint(usagef("the passphrase is empty"), "give --no-passphrase to leave the key unencrypted")
	}
	generate, err := generator(o.external)
	if err != nil {
		return err
	}
	k, err := saveKey(o.output, secret, func(t time.Time) (*trust.KeyPair, error) {
		k, err := generate(t)
		if err != nil {
			return nil, err
		}
		s.Next = string(k.PublicPEM())
		k.History, err = old.History.Add(old, s)
		return k, err
	})
	if err != nil {
		return err
	}
	if err := trust.AddHistory(o.signer.path(), k.History); err != nil {
		return err
	}
	a.notef("%s signs nothing any more; sign with %s from now on", o.signer.path(), o.output)
	return a.showKey(k, o.output)
}

func (a *app) keysRevokeCommand() *cobra.Command {
	var o signerOptions
	cmd := &cobra.Command{
		Use:   "revoke FINGERPRINT|FILE…",
		Short: "Revoke keys: nobody accepts what they have signed",
		Long: `Lets a signing key sign that the keys with these fingerprints, or in these files of
public keys, are revoked. Every bundle that it signs from now on carries that. Verifiers
that trust the signing key and have seen such a bundle refuse the revoked keys, for old
bundles too. The statement is written into the key file.

Exit status: 0 done; 1 the program of --sign-exec failed; 2 usage;
5 the signing key was replaced; 12 wrong passphrase.`,
		Example: `  offk8s keys revoke --key offk8s.key old.pub
  offk8s keys revoke --key offk8s.key \
    sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.revokeKeys(cmd.Context(), o, args) },
	}
	o.flags(cmd)
	return cmd
}

// revocation is the result of keys revoke.
type revocation struct {
	Key      string   `json:"key"`      // file of the key that revokes
	Sequence int      `json:"sequence"` // of the statement
	Revoked  []string `json:"revoked"`  // fingerprints
}

func (a *app) revokeKeys(ctx context.Context, o signerOptions, args []string) error {
	open, err := trustOptions{keys: args}.pins()
	if err != nil {
		return err
	}
	revoked := open.Fingerprints
	for _, k := range open.Keys {
		revoked = append(revoked, k.Fingerprint())
	}
	slices.Sort(revoked)
	revoked = slices.Compact(revoked)
	k, err := a.presentKey(ctx, o)
	if err != nil {
		return err
	}
	if slices.Contains(revoked, k.Fingerprint()) {
		return withHint(usagef("revoke %s: it is the signing key itself", k.Fingerprint()), "offk8s keys rotate --revoke replaces and revokes it")
	}
	h, err := k.History.Add(k, trust.Statement{Created: created(), Revoked: revoked})
	if err != nil {
		return err
	}
	if err := trust.AddHistory(o.path(), h); err != nil {
		return err
	}
	v := revocation{o.path(), len(h), revoked}
	a.notef("pack or sign a bundle with %s, and bring it: those who have seen it refuse the revoked keys", v.Key)
	return a.result(v, func(w io.Writer) error {
		return printLines(w, fmt.Sprintf("statement %d in %s", v.Sequence, v.Key), "revoked "+strings.Join(revoked, " "))
	})
}

// presentKey is signingKey for commands that need one.
func (a *app) presentKey(ctx context.Context, o signerOptions) (*trust.KeyPair, error) {
	k, err := a.signingKey(ctx, o)
	if err == nil && k == nil {
		err = withHint(usagef("there is no signing key"), "give --key; offk8s keys generate writes one")
	}
	return k, err
}

// path returns the path of the key file.
func (o signerOptions) path() string { return cmp.Or(o.key, defaultKey()) }
