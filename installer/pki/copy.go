package pki

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/trust"
)

// CopyFile is the name of the sealed copy in the state directory. Every
// control plane has the same bytes: sealing again would change them on all.
const CopyFile = "state.sealed"

// RefCopy is the sealed copy of the state; see Credentials.SealCopy.
const RefCopy = "secret:state-copy"

// CopyState describes the sealed copy.
type CopyState string

// The states of the copy.
const (
	CopyNone    CopyState = ""            // there is none
	CopyCurrent CopyState = "current"     // it has everything
	CopyOld     CopyState = "out of date" // credentials changed since
)

// SealCopy makes the copy of the state of the cluster with that name, sealed with pass,
// for RefCopy, or makes it again if the state has changed. Without pass, it only compares.
// The error is trust.ErrPassphrase if pass does not open the copy that exists. Issue
// everything with Ensure before.
func (s *Credentials) SealCopy(cluster string, pass []byte) (CopyState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.dir.read(CopyFile)
	if err != nil || old == nil && len(pass) == 0 {
		return CopyNone, err
	}
	state, err := s.dir.state(cluster)
	if err != nil {
		return CopyNone, err
	}
	result, err := compareCopy(state.Content, old, pass)
	if err != nil {
		return result, fmt.Errorf("sealed copy of the state, %q in %q: %w", CopyFile, s.dir.path, err)
	}
	if result == CopyCurrent || len(pass) == 0 {
		return result, nil
	}
	state.Copy = nil
	sealed, err := state.Seal(pass)
	if err == nil {
		err = s.dir.write(CopyFile, sealed)
	}
	return CopyCurrent, err
}

// HasCopy reports whether there is a sealed copy of the state.
func (s *Credentials) HasCopy() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.dir.read(CopyFile)
	return b != nil, err
}

// copySecret returns the value of RefCopy.
func (s *Credentials) copySecret() (trust.Secret, error) {
	b, err := s.dir.read(CopyFile)
	if err == nil && b == nil {
		err = fmt.Errorf("%q is missing in %q", CopyFile, s.dir.path)
	}
	return b, err
}

// compareCopy compares a sealed copy with the content of a state. If there are a copy
// and a passphrase, one must open the other.
func compareCopy(content digest.Digest, sealed, pass []byte) (CopyState, error) {
	if sealed == nil {
		return CopyNone, nil
	}
	s, err := ParseSealed(sealed)
	if err != nil {
		return CopyNone, err
	}
	if len(pass) > 0 {
		if _, err := s.Open(pass); err != nil {
			return CopyNone, err
		}
	}
	if s.Content != content {
		return CopyOld, nil
	}
	return CopyCurrent, nil
}
