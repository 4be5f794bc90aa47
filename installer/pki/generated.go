package pki

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/offk8s/offk8s/bundle/trust"
)

// The files that are made once, beside the authorities; serviceAccountFile has a
// .key and a .pub.
const (
	serviceAccountFile = "service-account"
	vrrpFile           = "vrrp.conf"
)

// storedToken is the bootstrap token in the state directory.
type storedToken struct {
	Token string    `json:"token"`
	Made  time.Time `json:"made"`
}

// ReuseToken makes a stored bootstrap token of less than that age be used again. Without
// it, the limit is half of TokenLifetime, so that a token is valid until the end of a run.
// Tickets share a token as long as they are valid: its time begins on the control plane.
func (s *Credentials) ReuseToken(age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokenAge = age
}

// bootstrapToken returns the token of this run: the stored one if it is young
// enough, otherwise a new one.
func (s *Credentials) bootstrapToken() (trust.Secret, error) {
	if s.token != nil {
		return s.token, nil
	}
	const file = "bootstrap-token.json"
	b, err := s.dir.read(file)
	if err != nil {
		return nil, err
	}
	var t storedToken
	if b != nil && json.Unmarshal(b, &t) == nil && t.Token != "" {
		if age := s.now().Sub(t.Made); age >= 0 && age < s.tokenAge {
			s.token = trust.Secret(t.Token)
			return s.token, nil
		}
	}
	t = storedToken{Token: randomText(6) + "." + randomText(16), Made: s.now().UTC()}
	if b, err = json.Marshal(t); err != nil {
		return nil, err
	}
	if err := s.dir.write(file, b); err != nil {
		return nil, err
	}
	s.token = trust.Secret(t.Token)
	return s.token, nil
}

// randomText returns n random characters of the alphabet of bootstrap tokens.
func randomText(n int) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	out, b := make([]byte, 0, n), make([]byte, 1)
	for len(out) < n {
		_, _ = rand.Read(b) // never fails
		if b[0] < 252 {     // 7 × 36, so that all characters are equally likely
			out = append(out, alphabet[int(b[0])%len(alphabet)])
		}
	}
	return string(out)
}

// vrrp returns the block of keepalived.conf with which the balancers authenticate to each
// other. keepalived uses the first 8 characters of a password.
func (s *Credentials) vrrp() (trust.Secret, error) {
	b, err := s.dir.read(vrrpFile)
	if err != nil || b != nil {
		return b, err
	}
	b = fmt.Appendf(nil, "authentication {\n    auth_type PASS\n    auth_pass %s\n}\n", randomText(8))
	return b, s.dir.write(vrrpFile, b)
}

// serviceAccount returns the key pair of service account tokens, which is created once.
func (s *Credentials) serviceAccount() (priv trust.Secret, pub []byte, err error) {
	const base = serviceAccountFile
	if pub, err = s.dir.read(base + ".pub"); err != nil {
		return nil, nil, err
	}
	if pub != nil {
		priv, err = s.dir.read(base + ".key")
		if err == nil && priv == nil {
			err = fmt.Errorf("%q is missing beside its public key", filepath.Join(s.dir.path, base+".key"))
		}
		return priv, pub, err
	}
	if priv, pub, err = newKey(); err != nil {
		return nil, nil, err
	}
	if err := s.dir.write(base+".key", priv); err != nil {
		return nil, nil, err
	}
	return priv, pub, s.dir.write(base+".pub", pub)
}
