package host

import (
	"errors"
	"strings"
)

// quote returns one line that a POSIX shell reads as exactly argv: the shell's
// Command Language 2.2.2, in single quotes every character stands for itself,
// and a single quote itself stands outside of them, escaped. Words of
// characters that mean nothing to a shell stay as they are. A NUL cannot be
// passed to a program at all.
func quote(argv []string) (string, error) {
	if len(argv) == 0 {
		return "", errors.New("no program")
	}
	words := make([]string, len(argv))
	for i, a := range argv {
		if strings.ContainsRune(a, 0) {
			return "", errors.New("an argument has a NUL byte")
		}
		words[i] = quoteWord(a)
	}
	return strings.Join(words, " "), nil
}

func quoteWord(a string) string {
	plain := a != "" && !strings.ContainsFunc(a, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./,:@+", r))
	})
	if plain {
		return a
	}
	return "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
}
