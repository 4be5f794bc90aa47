package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Reasons for a SudoError.
var (
	ErrSudoPassword = errors.New("sudo asks for a password")
	ErrSudoRefused  = errors.New("sudo refused the password")
	ErrSudoTTY      = errors.New("sudo wants a terminal (requiretty)")
	ErrSudoers      = errors.New("sudo does not allow this user to run programs as root")
	ErrNoSudo       = errors.New("the host has no sudo")
)

// SudoError reports that sudo did not start a program. Nothing has run as root.
type SudoError struct {
	Host string
	Said string // by sudo
	Err  error
}

func (e *SudoError) Error() string {
	if e.Said == "" {
		return fmt.Sprintf("%s: %v", e.Host, e.Err)
	}
	return fmt.Sprintf("%s: %v: %s", e.Host, e.Err, e.Said)
}

// Unwrap returns ErrSudoPassword or another of the reasons.
func (e *SudoError) Unwrap() error { return e.Err }

// sudoTexts are parts of sudo's messages in English, from version 1.8 (EL7) on.
var sudoTexts = []struct {
	text string
	err  error
}{
	{"must have a tty", ErrSudoTTY},
	{"is not in the sudoers file", ErrSudoers},
	{"is not allowed to", ErrSudoers},
	{"may not run sudo", ErrSudoers},
	{"incorrect password attempt", ErrSudoRefused},
	{"no password was provided", ErrSudoRefused},
	{"a password is required", ErrSudoPassword},
	{"a terminal is required to read the password", ErrSudoPassword},
	{"sudo: not found", ErrNoSudo},
	{"sudo: command not found", ErrNoSudo},
	{"env: sudo:", ErrNoSudo},
	{"env: ‘sudo’: No such file", ErrNoSudo},
	{"env: 'sudo': No such file", ErrNoSudo},
}

// sudoReason returns the reason in the words of sudo, or nil.
func sudoReason(said string) error {
	for _, t := range sudoTexts {
		if strings.Contains(said, t.text) {
			return t.err
		}
	}
	return nil
}

// Sudo is the password for sudo, which all hosts share. Until one of them accepts it, it
// is tried on one host at a time, and not on others after it is refused: a directory that
// counts failed logins of all hosts would lock the account. No host gets it twice after it
// refused it. Nil is no password.
type Sudo struct {
	password []byte
	first    sync.Mutex // held while a host tries a password that none has accepted yet

	mu       sync.Mutex
	accepted bool
	refused  []string // names of hosts
}

// NewSudo returns the password for sudo.
func NewSudo(password []byte) *Sudo { return &Sudo{password: password} }

// answer returns the password for a host whose sudo asks for it. Unless there is an
// error, the caller reports the outcome by calling verdict once.
func (s *Sudo) answer(host string) (password []byte, verdict func(error), err error) {
	s.first.Lock()
	s.mu.Lock()
	defer s.mu.Unlock()
	release := s.first.Unlock
	switch {
	case slices.Contains(s.refused, host):
		release()
		return nil, nil, &SudoError{Host: host, Err: ErrSudoRefused, Said: "not tried again"}
	case s.accepted:
		release()
		release = func() {}
	case len(s.refused) > 0:
		release()
		return nil, nil, &SudoError{Host: host, Err: ErrSudoRefused, Said: "not tried here, since " + s.refused[0] + " refused it"}
	}
	return s.password, func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		defer release()
		switch {
		case err == nil:
			s.accepted = true
		case errors.Is(err, ErrSudoRefused):
			s.refused = append(s.refused, host)
		}
	}, nil
}
