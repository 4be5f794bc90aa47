package pki

import (
	"testing"
	"time"
)

func TestFirstEnd(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	s := open(t, dir, now, nil)
	if name, end, err := s.FirstEnd(); name != "" || !end.IsZero() || err != nil {
		t.Errorf("empty directory: %q, %s, %v", name, end, err)
	}
	if _, err := s.Establish(); err != nil {
		t.Fatal(err)
	}
	if name, end, err := s.FirstEnd(); name == "" || end.Before(now.Add(9*365*24*time.Hour)) || err != nil {
		t.Errorf("authorities only: %q, %s, %v", name, end, err)
	}
	resolve(t, s, CertRef(Admin))
	later := open(t, dir, now.Add(10*24*time.Hour), nil)
	if _, err := later.Ensure(); err != nil {
		t.Fatal(err)
	}
	name, end, err := later.FirstEnd()
	want := cert(t, resolve(t, later, CertRef(Admin))).NotAfter
	if name != Admin || !end.Equal(want) || err != nil {
		t.Errorf("%q, %s, %v; want %q, %s", name, end, err, Admin, want)
	}
}
