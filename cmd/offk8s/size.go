package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/offk8s/offk8s/bundle"
)

// units are the suffixes of sizes on the command line; all are powers of 1024.
var units = map[string]int64{"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

// parseSize parses a number of bytes such as "500K", "4GiB" or "1.5M".
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMGTiBkmgtb")
	suffix := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s[len(digits):]), "B"), "I")
	n, err := strconv.ParseFloat(digits, 64)
	unit, ok := units[suffix]
	if bytes := n * float64(unit); err == nil && ok && bytes >= 1 && bytes < math.MaxInt64/2 {
		return int64(bytes), nil
	}
	return 0, errors.New("want a size such as 500K, 4GiB or 1.5M")
}

// sizeFlag is a flag whose value is a size in bytes.
type sizeFlag int64

func (f *sizeFlag) String() string {
	if *f == 0 {
		return ""
	}
	return bundle.FormatSize(int64(*f))
}

func (f *sizeFlag) Set(s string) error {
	n, err := parseSize(s)
	*f = sizeFlag(n)
	return err
}

func (*sizeFlag) Type() string { return "size" }

const (
	// splitAuto is the value of --split for the limit of the file system.
	splitAuto = "auto"
	// minSplit is the smallest size of a part in bytes.
	minSplit = 4 << 10
)

// splitFlag is the value of --split: a size in bytes, or 0 for splitAuto.
type splitFlag int64

func (f *splitFlag) String() string {
	if *f == 0 {
		return splitAuto
	}
	return bundle.FormatSize(int64(*f))
}

func (f *splitFlag) Set(s string) (err error) {
	var n int64
	if s != splitAuto {
		n, err = parseSize(s)
		if err == nil && n < minSplit {
			err = fmt.Errorf("want at least %s", bundle.FormatSize(minSplit))
		}
	}
	*f = splitFlag(n)
	return err
}

func (*splitFlag) Type() string { return "size" }

// limit returns the largest size of a file of the bundle output in bytes, 0 for none.
// 4GiB is one byte more than FAT allows.
func (f splitFlag) limit(output string) (int64, error) {
	most, err := bundle.AutoSplit(output)
	if err != nil || f == 0 || most > 0 && most < int64(f) {
		return most, err
	}
	return int64(f), nil
}
