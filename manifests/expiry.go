package manifests

import (
	"errors"
	"fmt"
	"time"
)

// What CheckAge finds.
var (
	ErrExpired = errors.New("the bundle has expired")
	ErrClock   = errors.New("the bundle was packed in the future: this machine's clock is wrong")
)

// CheckAge says why the bundle should not be used at now (T-04): ErrClock when
// it was packed more than a day later, for then nothing can be said about its
// age, else ErrExpired from Expires on.
func (l *Lock) CheckAge(now time.Time) error {
	switch {
	case l.Created.After(now.AddDate(0, 0, 1)):
		return fmt.Errorf("bundle %q: %w: created %s, now %s", l.Name, ErrClock, l.Created.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case !l.Expires.IsZero() && !l.Expires.After(now):
		return fmt.Errorf("bundle %q: %w: %s", l.Name, ErrExpired, l.Expires.Format(time.RFC3339))
	}
	return nil
}
