package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

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

// auth collects the keys to log in with.
func (c *SSHConfig) auth(ctx context.Context) ([]ssh.AuthMethod, func(), error) {
	var signers []ssh.Signer
	files := []string{c.KeyFile}
	if c.KeyFile == "" {
		files = nil
		if c.Home != "" {
			for _, n := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
				files = append(files, filepath.Join(c.Home, ".ssh", n))
			}
		}
	}
	var locked error
	for _, f := range files {
		s, err := readKey(f)
		_, noPassphrase := errors.AsType[*ssh.PassphraseMissingError](err)
		switch {
		case err == nil:
			signers = append(signers, s)
		case c.KeyFile == "" && os.IsNotExist(err):
		case noPassphrase:
			// ssh-agent may have it.
			locked = fmt.Errorf("key %q has a passphrase: add it to ssh-agent (ssh-add)", f)
		default:
			return nil, nil, fmt.Errorf("key %q: %w", f, err)
		}
	}
	closeAgent := func() {}
	if c.AgentSocket != "" && (c.KeyFile == "" || locked != nil) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.AgentSocket)
		if err == nil {
			closeAgent = func() { _ = conn.Close() }
			// If the agent has no keys, the files remain.
			if more, err := agent.NewClient(conn).Signers(); err == nil {
				signers = append(more, signers...)
			}
		}
	}
	if len(signers) == 0 {
		closeAgent()
		if locked != nil {
			return nil, nil, locked
		}
		return nil, nil, errors.New("no key to log in with: name one in cluster.yaml (ssh.keyFile) or start ssh-agent")
	}
	return []ssh.AuthMethod{ssh.PublicKeys(signers...)}, closeAgent, nil
}

// readKey reads a private key, and refuses one that others may read.
func readKey(file string) (ssh.Signer, error) {
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
	return ssh.ParsePrivateKey(b)
}
