package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/trust"
)

func (a *app) keysShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show [FILE]",
		Short: "Print the fingerprints of a key file, and who replaced or revoked whom",
		Long: `Prints the fingerprint of every key in FILE (default: the public key of this user):
an offk8s.pub, an OpenPGP key such as /offk8s.asc of a mirror, or an offk8s.key, of
which it reads the public keys only. Compare them with the packing machine's.

Of an offk8s.key that was rotated or has revoked others it prints the statements too, and
of a keys.json, in which verify, serve and the hosts keep the statements that they have
seen, all of them. Each statement's signature is checked.`,
		Example: `  offk8s keys show offk8s.pub
  offk8s keys show offk8s.asc
  offk8s keys show ~/.local/state/offk8s/keys.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			name := publicPath(defaultKey())
			if len(args) == 1 {
				name = args[0]
			}
			keys, err := a.keysIn(name)
			if errors.Is(err, os.ErrNotExist) {
				return withHint(err, "offk8s keys generate writes one; so does the first offk8s pack")
			}
			if err != nil {
				return err
			}
			return a.result(keys, func(w io.Writer) error {
				var lines []string
				for _, k := range keys {
					lines = append(append(lines, cmp.Or(k.Fingerprint, k.OpenPGP)), k.statements()...)
				}
				return printLines(w, lines...)
			})
		},
	}
}

// shownKey is a key as keys show prints it, with the fingerprint of its kind.
type shownKey struct {
	File        string           `json:"file"`
	Fingerprint string           `json:"fingerprint,omitempty"` // "sha256:<hex>" of a key that signs bundles
	OpenPGP     string           `json:"openPGP,omitempty"`     // upper-case hex of a key that signs repositories
	History     []shownStatement `json:"history,omitempty"`     // of the key, oldest first
}

// shownStatement is a trust.Statement with fingerprints in place of keys.
type shownStatement struct {
	Created time.Time `json:"created"`
	Signer  string    `json:"signer"` // fingerprint, as Next and those in Revoked
	Next    string    `json:"next,omitempty"`
	Until   time.Time `json:"until,omitzero"` // end of the signer, if it has one
	Revoked []string  `json:"revoked,omitempty"`
}

// statements returns a line for each statement.
func (k shownKey) statements() []string {
	var lines []string
	for i, s := range k.History {
		var parts []string
		if s.Next != "" {
			parts = append(parts, "names "+s.Next+" as the next key")
		}
		if !s.Until.IsZero() {
			parts = append(parts, "is accepted until "+s.Until.Format(time.RFC3339))
		}
		if len(s.Revoked) > 0 {
			parts = append(parts, "revokes "+strings.Join(s.Revoked, " "))
		}
		lines = append(lines, fmt.Sprintf("  %d  %s  %s %s", i+1, s.Created.Format(time.DateOnly), s.Signer, strings.Join(parts, ", ")))
	}
	return lines
}

// showHistory returns the statements of a history that was checked.
func showHistory(h trust.History) ([]shownStatement, error) {
	var out []shownStatement
	for _, s := range h {
		shown := shownStatement{Created: s.Created, Until: s.Until, Revoked: s.Revoked}
		for _, k := range []struct {
			pem string
			to  *string
		}{{s.Signer, &shown.Signer}, {s.Next, &shown.Next}} {
			if k.pem == "" {
				continue
			}
			keys, err := trust.ParsePublicKeys([]byte(k.pem))
			if err != nil {
				return nil, err
			}
			*k.to = keys[0].Fingerprint()
		}
		out = append(out, shown)
	}
	return out, nil
}

// keysIn returns the keys of a file of any kind.
func (a *app) keysIn(name string) ([]shownKey, error) {
	content, err := reader.ReadFile(name, maxPublicKeys)
	if errors.Is(err, os.ErrNotExist) {
		return nil, usagef("public key: %w", err)
	}
	if err != nil {
		return nil, withHint(usagef("public key: %w", err), "%s", publicKeyHint)
	}
	if list, err := trust.DecodeHistories(content); errors.Is(err, trust.ErrHistory) || len(list) > 0 {
		return currentKeys(name, list, err)
	}
	var shown []shownKey
	var history trust.History
	public, err := trust.ParsePublicKeys(content)
	openPGP := content
	if errors.Is(err, trust.ErrPrivate) {
		var k trust.PublicKey
		k, openPGP, history, err = trust.PublicParts(content)
		if errors.Is(err, trust.ErrHistory) {
			return nil, err
		}
		if err != nil {
			return nil, publicKeyError(name, trust.ErrPrivate)
		}
		a.warnf("%q %v; give others %q and keep this file", name, trust.ErrPrivate, publicPath(name))
		public = []trust.PublicKey{k}
	}
	statements, historyErr := showHistory(history)
	if historyErr != nil {
		return nil, historyErr
	}
	for _, k := range public {
		shown = append(shown, shownKey{File: name, Fingerprint: k.Fingerprint(), History: statements})
	}
	ring, ringErr := trust.ReadKeyring(openPGP)
	if ringErr == nil {
		for _, f := range ring.Fingerprints() {
			shown = append(shown, shownKey{File: name, OpenPGP: f})
		}
	}
	if len(shown) == 0 {
		return nil, publicKeyError(name, err)
	}
	return shown, nil
}

// currentKeys returns the current key of each history of a keys.json.
func currentKeys(name string, list []trust.History, err error) ([]shownKey, error) {
	var shown []shownKey
	for _, h := range list {
		chain, keysErr := h.Keys()
		statements, showErr := showHistory(h)
		if err = errors.Join(err, keysErr, showErr); err != nil {
			break
		}
		shown = append(shown, shownKey{File: name, Fingerprint: chain[len(chain)-1].Fingerprint(), History: statements})
	}
	return shown, err
}
