package manifests

import (
	"errors"
	"testing"
	"time"
)

func TestT04CheckAge(t *testing.T) {
	created := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	expires := created.AddDate(1, 0, 0)
	for _, tt := range []struct {
		name    string
		now     time.Time
		expires time.Time
		want    error
	}{
		{"never expires", created.AddDate(50, 0, 0), time.Time{}, nil},
		{"fresh", created.AddDate(0, 6, 0), expires, nil},
		{"last second", expires.Add(-time.Second), expires, nil},
		{"expired", expires, expires, ErrExpired},
		{"long expired", expires.AddDate(5, 0, 0), expires, ErrExpired},
		{"clock slow by hours", created.Add(-20 * time.Hour), expires, nil},
		{"clock slow by days", created.AddDate(0, 0, -2), expires, ErrClock},
		{"clock slow, expired before it was made", created.AddDate(0, 0, -2), created.AddDate(0, 0, -3), ErrClock},
	} {
		l := Lock{Name: "b", Created: created, Expires: tt.expires}
		if err := l.CheckAge(tt.now); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}
