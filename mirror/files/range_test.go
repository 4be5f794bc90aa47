package files

import (
	"errors"
	"testing"
)

func TestParseRange(t *testing.T) {
	tests := []struct {
		header string
		size   int64
		want   span
		ok     bool
		err    error
	}{
		{header: "", size: 10},
		{header: "bytes=0-0", size: 10, want: span{0, 1}, ok: true},
		{header: "bytes=2-", size: 10, want: span{2, 8}, ok: true},
		{header: "bytes=2-99", size: 10, want: span{2, 8}, ok: true},
		{header: "bytes=-3", size: 10, want: span{7, 3}, ok: true},
		{header: "bytes=-30", size: 10, want: span{0, 10}, ok: true},
		{header: "Bytes= 1 - 2 ", size: 10, want: span{1, 2}, ok: true},
		{header: "bytes=10-", size: 10, err: errUnsatisfiable},
		{header: "bytes=0-", size: 0, err: errUnsatisfiable},
		{header: "bytes=-0", size: 10, err: errUnsatisfiable},
		{header: "bytes=-1", size: 0, err: errUnsatisfiable},
		{header: "bytes=3-2", size: 10},
		{header: "bytes=0-1,3-4", size: 10},
		{header: "bytes=1-2,", size: 10},
		{header: "bytes=,1-2", size: 10},
		{header: "bytes=--1", size: 10},
		{header: "bytes=+1-2", size: 10},
		{header: "bytes=1-2-3", size: 10},
		{header: "bytes=", size: 10},
		{header: "bytes=-", size: 10},
		{header: "lines=1-2", size: 10},
		{header: "bytes=99999999999999999999-", size: 10},
	}
	for _, tt := range tests {
		got, ok, err := parseRange(tt.header, tt.size)
		if got != tt.want || ok != tt.ok || !errors.Is(err, tt.err) {
			t.Errorf("%q of %d: %v %v %v, want %v %v %v", tt.header, tt.size, got, ok, err, tt.want, tt.ok, tt.err)
		}
	}
}

func FuzzRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-0", "bytes=-5", "bytes=3-", "bytes=1-2,4-5", "bytes=9223372036854775807-", "x"} {
		f.Add(seed, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		got, ok, err := parseRange(header, size)
		if ok && err != nil {
			t.Fatalf("%q: both a range and %v", header, err)
		}
		if ok && (got.start < 0 || got.length <= 0 || got.start > size-got.length) {
			t.Fatalf("%q of %d: %v lies outside", header, size, got)
		}
	})
}
