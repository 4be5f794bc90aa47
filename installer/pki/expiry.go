package pki

import (
	"fmt"
	"time"
)

// FirstEnd returns the credential or authority whose certificate ends first, of those
// that exist, and when. The name is empty if there are none.
func (s *Credentials) FirstEnd() (name string, end time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := s.order
	for _, ca := range authorities() {
		names = append(names[:len(names):len(names)], caName(ca))
	}
	for _, n := range names {
		p, err := s.dir.readPair(n)
		if err != nil {
			return "", time.Time{}, err
		}
		if p.cert == nil {
			continue
		}
		cert, _, err := parsePair(p)
		if err != nil {
			return "", time.Time{}, fmt.Errorf("credential %q: %w", n, err)
		}
		if name == "" || cert.NotAfter.Before(end) {
			name, end = n, cert.NotAfter
		}
	}
	return name, end, nil
}
