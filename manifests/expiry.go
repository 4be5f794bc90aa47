package manifests

import (
	"errors"
	"fmt"
	"time"
)

// Errors of CheckAge.
var (
	ErrExpired = errors.New("the bundle has expired")
	ErrClock   = errors.New("the bundle was packed in the future: this machine's clock is wrong")
)

// CheckAge returns an error if the bundle is too old to use at now: an old but
// signed bundle could bring back fixed vulnerabilities. The error is ErrExpired
// from Expires on, or ErrClock if the bundle was created more than a day after
// now, so that its age is unknown.
func (l *Lock) CheckAge(now time.Time) error {
	switch {
	case l.Created.After(now.AddDate(0, 0, 1)):
		return fmt.Errorf("bundle %q: %w: created %s, now %s", l.Name, ErrClock, l.Created.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case !l.Expires.IsZero() && !l.Expires.After(now):
		return fmt.Errorf("bundle %q: %w: %s", l.Name, ErrExpired, l.Expires.Format(time.RFC3339))
	}
	return nil
}
