package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// LockedKeyError reports that keys could not be tried, since they have a passphrase that
// is not known and ssh-agent does not have them.
type LockedKeyError struct {
	Files []string
	Err   error
}

func (e *LockedKeyError) Error() string {
	return fmt.Sprintf("%v; key %q has a passphrase: add it to ssh-agent (ssh-add)", e.Err, e.Files[0])
}

func (e *LockedKeyError) Unwrap() error { return e.Err }

// client returns the SSH library's configuration; closeAgent closes the connection to
// ssh-agent.
func (c *SSHConfig) client(ctx context.Context) (conf *ssh.ClientConfig, closeAgent func(), err error) {
	check, hostAlgorithms, err := c.hostKeys()
	if err != nil {
		return nil, nil, err
	}
	methods, closeAgent, err := c.auth(ctx)
	if err != nil {
		return nil, nil, err
	}
	// Only algorithms that the library calls secure: no SHA-1, no CBC, no DSA.
	secure := ssh.SupportedAlgorithms()
	if hostAlgorithms == nil {
		hostAlgorithms = secure.HostKeys
	}
	return &ssh.ClientConfig{
		Config: ssh.Config{KeyExchanges: secure.KeyExchanges, Ciphers: secure.Ciphers, MACs: secure.MACs},
		User:   c.User, Auth: methods, HostKeyCallback: check, HostKeyAlgorithms: hostAlgorithms,
		ClientVersion: "SSH-2.0-offk8s",
	}, closeAgent, nil
}

// identities are the keys to log in with.
type identities struct {
	signers []ssh.Signer
	named   []ssh.PublicKey // of the files, with those that are locked
	locked  []string        // files
	notes   []string        // on certificates that are of no use
}

// auth collects the keys to log in with.
func (c *SSHConfig) auth(ctx context.Context) ([]ssh.AuthMethod, func(), error) {
	ids, err := c.readKeys()
	if err != nil {
		return nil, nil, err
	}
	closeAgent := func() {}
	if c.AgentSocket != "" && (c.KeyFile == "" || len(ids.locked) > 0) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.AgentSocket)
		if err == nil {
			closeAgent = func() { _ = conn.Close() }
			// If the agent has no keys, the files remain.
			if more, err := agent.NewClient(conn).Signers(); err == nil {
				ids.addAgent(more, c.KeyFile != "" || c.keysOnly)
			}
		}
	}
	ids.certify(c.certFiles)
	c.locked, c.notes = ids.locked, ids.notes
	if len(ids.signers) == 0 {
		closeAgent()
		err := errors.New("no key to log in with: name one in cluster.yaml (ssh.keyFile) or start ssh-agent")
		if len(c.locked) > 0 {
			err = errors.New("no other key to log in with")
		}
		return nil, nil, c.explain(err)
	}
	return []ssh.AuthMethod{ssh.PublicKeys(ids.signers...)}, closeAgent, nil
}

// explain adds to an error of a login why keys were not tried.
func (c *SSHConfig) explain(err error) error {
	if len(c.notes) > 0 {
		err = fmt.Errorf("%w; %s", err, strings.Join(c.notes, "; "))
	}
	if len(c.locked) > 0 {
		return &LockedKeyError{c.locked, err}
	}
	return err
}

// readKeys reads the key of cluster.yaml, those of the configuration file, or the usual
// ones. Only the first must exist.
func (c *SSHConfig) readKeys() (*identities, error) {
	ids := &identities{}
	files := c.keyFiles
	switch {
	case c.KeyFile != "":
		files = []string{c.KeyFile}
	case len(files) == 0 && c.Home != "":
		for _, n := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			files = append(files, filepath.Join(c.Home, ".ssh", n))
		}
	}
	for _, f := range files {
		s, err := readKey(f, c.Passphrases[f])
		missing, locked := errors.AsType[*ssh.PassphraseMissingError](err)
		switch {
		case err == nil:
			ids.signers, ids.named = append(ids.signers, s), append(ids.named, s.PublicKey())
		case locked:
			ids.locked = append(ids.locked, f)
			if key := missing.PublicKey; key != nil {
				ids.named = append(ids.named, key)
			} else if key, err := readPublic(f + ".pub"); err == nil {
				ids.named = append(ids.named, key)
			}
		case c.KeyFile == "" && os.IsNotExist(err):
			// ssh-agent may have the key of a public one (IdentitiesOnly).
			if key, err := readPublic(f + ".pub"); err == nil {
				ids.named = append(ids.named, key)
			}
		default:
			return nil, fmt.Errorf("key %q: %w", f, err)
		}
		if _, err := os.Stat(f + "-cert.pub"); err == nil {
			c.certFiles = append(c.certFiles, f+"-cert.pub")
		}
	}
	return ids, nil
}

// addAgent adds the keys of ssh-agent; if only is set, those that files name. They come
// first, so that a file with a passphrase is not needed.
func (ids *identities) addAgent(keys []ssh.Signer, only bool) {
	has := func(key ssh.PublicKey) bool {
		return slices.ContainsFunc(ids.named, func(n ssh.PublicKey) bool { return sameKey(n, plainKey(key)) })
	}
	if only && len(ids.named) > 0 {
		keys = slices.DeleteFunc(keys, func(s ssh.Signer) bool { return !has(s.PublicKey()) })
	}
	ids.signers = append(keys, ids.signers...)
	ids.locked = slices.DeleteFunc(ids.locked, func(f string) bool {
		key, err := readPublic(f + ".pub")
		if err != nil {
			_, err := readKey(f, nil)
			missing, _ := errors.AsType[*ssh.PassphraseMissingError](err)
			if key = missing.PublicKey; key == nil {
				return false
			}
		}
		return slices.ContainsFunc(keys, func(s ssh.Signer) bool { return sameKey(plainKey(s.PublicKey()), key) })
	})
}

// certify puts the certificates for keys in front of them.
func (ids *identities) certify(files []string) {
	var certified []ssh.Signer
	for _, f := range files {
		key, err := readPublic(f)
		cert, ok := key.(*ssh.Certificate)
		now := uint64(time.Now().Unix())
		switch {
		case err != nil:
			ids.notes = append(ids.notes, fmt.Sprintf("certificate %q: %v", f, err))
			continue
		case !ok || cert.CertType != ssh.UserCert:
			ids.notes = append(ids.notes, fmt.Sprintf("%q is no certificate of a user", f))
			continue
		case now >= cert.ValidBefore:
			ids.notes = append(ids.notes, fmt.Sprintf("certificate %q ended at %s", f, time.Unix(int64(cert.ValidBefore), 0).UTC().Format(time.RFC3339)))
			continue
		case now < cert.ValidAfter:
			ids.notes = append(ids.notes, fmt.Sprintf("certificate %q begins at %s", f, time.Unix(int64(cert.ValidAfter), 0).UTC().Format(time.RFC3339)))
			continue
		}
		for _, s := range ids.signers {
			if !sameKey(s.PublicKey(), cert.Key) {
				continue
			}
			if c, err := ssh.NewCertSigner(cert, s); err == nil {
				certified = append(certified, c)
			}
		}
	}
	ids.signers = append(certified, ids.signers...)
}

// plainKey returns the key of a certificate, or the key itself.
func plainKey(key ssh.PublicKey) ssh.PublicKey {
	if a, ok := key.(*agent.Key); ok {
		if parsed, err := ssh.ParsePublicKey(a.Marshal()); err == nil {
			key = parsed
		}
	}
	if cert, ok := key.(*ssh.Certificate); ok {
		return cert.Key
	}
	return key
}

func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

func readPublic(file string) (ssh.PublicKey, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(b)
	return key, err
}

// readKey reads a private key, and refuses one that others may read. passphrase is nil if
// it is not known.
func readKey(file string, passphrase []byte) (ssh.Signer, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others may read it (mode %s): chmod 600", st.Mode().Perm())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s, err := ssh.ParsePrivateKey(b)
	if _, locked := errors.AsType[*ssh.PassphraseMissingError](err); locked && passphrase != nil {
		if s, err = ssh.ParsePrivateKeyWithPassphrase(b, passphrase); err != nil {
			err = fmt.Errorf("the passphrase does not open it: %w", err)
		}
	}
	return s, err
}
