package main

import (
	"testing"

	"github.com/offk8s/offk8s/bundle"
)

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 3 << 40: "3.0 TiB", 1 << 50: "1024.0 TiB",
	} {
		if got := bundle.FormatSize(n); got != want {
			t.Errorf("FormatSize(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"1": 1, "500K": 500 << 10, "500kb": 500 << 10, "4GiB": 4 << 30, "1.5M": 3 << 19, "2t": 2 << 40,
		"": 0, "0": 0, "-1": 0, "4X": 0, "GiB": 0, "4GiBi": 0, "1e30": 0, "nan": 0, "inf": 0, "4 G": 0,
	} {
		if got, err := parseSize(in); got != want || (err == nil) != (want > 0) {
			t.Errorf("parseSize(%q) = %d, %v, want %d", in, got, err, want)
		}
	}
}
