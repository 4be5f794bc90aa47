package mirror

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"

	"github.com/offk8s/offk8s/mirror/oci"
)

const (
	// maxCost bounds the work for one password: a cost of 14 is a second of a processor.
	maxCost = 14
	// passwordChecks is how many passwords are compared at the same time.
	passwordChecks = 2
)

// Passwords are the users of a mirror, from a file of htpasswd with bcrypt hashes. They
// are safe for concurrent use.
type Passwords struct {
	users atomic.Pointer[map[string]*user]
	slots chan struct{}
	key   []byte // of the digests in users
}

// user is a line of the file. bcrypt is too slow for every request of a client, so the
// digest of the password is kept once it was right.
type user struct {
	hash []byte
	good atomic.Pointer[[]byte]
}

// NewPasswords returns Passwords without a user, for which nobody gets an answer.
func NewPasswords() *Passwords {
	p := &Passwords{slots: make(chan struct{}, passwordChecks), key: make([]byte, sha256.Size)}
	_, _ = rand.Read(p.key) // it never fails
	p.users.Store(&map[string]*user{})
	return p
}

// Load makes the users of a file with content text take the place of those before, unless
// it returns an error.
func (p *Passwords) Load(text []byte) error {
	users, errs := map[string]*user{}, []error(nil)
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, _ := strings.Cut(line, ":")
		cost, err := bcrypt.Cost([]byte(hash))
		switch {
		case name == "" || err != nil: // the hash stays out of the message
			errs = append(errs, fmt.Errorf("line %d: want USER:HASH with a bcrypt hash, as htpasswd -B writes it", n))
		case cost > maxCost:
			errs = append(errs, fmt.Errorf("line %d: a bcrypt hash of cost %d takes too long to compare, want %d at most", n, cost, maxCost))
		case users[name] != nil:
			errs = append(errs, fmt.Errorf("line %d: the user %q is there twice", n, name))
		default:
			users[name] = &user{hash: []byte(hash)}
		}
	}
	errs = append(errs, lines.Err())
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(users) == 0 {
		return errors.New("no user in it")
	}
	p.users.Store(&users)
	return nil
}

// Allow reports whether name is a user with this password. A wrong name takes as long as
// a wrong password.
func (p *Passwords) Allow(ctx context.Context, name, password string) bool {
	users := *p.users.Load()
	u, known := users[name]
	sum := hmac.New(sha256.New, p.key)
	sum.Write([]byte(password))
	digest := sum.Sum(nil)
	if known {
		if good := u.good.Load(); good != nil && hmac.Equal(*good, digest) {
			return true
		}
	} else {
		for _, u = range users {
			break
		}
	}
	if u == nil {
		return false
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return false
	}
	if bcrypt.CompareHashAndPassword(u.hash, []byte(password)) != nil || !known {
		return false
	}
	u.good.Store(&digest)
	return true
}

// openPaths need no password: load balancers ask the first two, and a client compares the
// CA with its fingerprint before it sends a password.
var openPaths = map[string]bool{"/healthz": true, "/readyz": true, "/ca.crt": true}

// authorized reports whether the client may have the answer, and refuses the request with
// status 401 if not.
func (m *Mirror) authorized(w http.ResponseWriter, r *http.Request) bool {
	p := m.options.Passwords
	if p == nil || openPaths[r.URL.Path] {
		return true
	}
	if name, password, ok := r.BasicAuth(); ok && p.Allow(r.Context(), name, password) {
		return true
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="offk8s mirror", charset="UTF-8"`)
	if r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/") {
		oci.Unauthorized(w, r.Method == http.MethodHead)
	} else {
		http.Error(w, "this mirror wants a user and a password", http.StatusUnauthorized)
	}
	return false
}
