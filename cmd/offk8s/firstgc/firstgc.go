// Package firstgc puts off the first garbage collection from 4 MiB of heap to 16. A
// program that starts keeps most of what it allocates: collections meanwhile find little,
// and take a tenth of the time from the start of serve to its first answer.
//
// It is initialized before the packages that fill large tables, such as the linter of
// cfssl and its list of public suffixes: packages that do not depend on each other follow
// in the order of their import paths (Go specification, "Program initialization").
package firstgc

import (
	"runtime"
	"runtime/debug"
)

// Percent of garbage at which the collector starts. With usual, the first heap is 4 MiB.
const usual, first = 100, 4 * usual

func init() {
	before := debug.SetGCPercent(first)
	if before != usual { // GOGC asks for it
		debug.SetGCPercent(before)
		return
	}
	seen := new([16]byte) // is unreachable, so that the first collection finds it
	runtime.AddCleanup(seen, func(struct{}) {
		if now := debug.SetGCPercent(usual); now != first {
			debug.SetGCPercent(now) // package mirror has set it for a crowd
		}
	}, struct{}{})
}
