package host

import (
	"errors"
	"strings"
)

// quote returns a line that a POSIX shell parses as exactly argv. Inside single quotes
// every character is literal (Shell Command Language, section 2.2.2); a single quote
// itself is escaped outside of them. Words without special characters stay unquoted.
// NUL is refused, since no program can get it.
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
