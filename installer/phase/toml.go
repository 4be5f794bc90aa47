package phase

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// encodeTOML renders nested maps as TOML 1.0 with sorted keys, which is all that
// containerd's configuration needs: strings, booleans, numbers, lists of those,
// and tables.
func encodeTOML(v map[string]any) (string, error) {
	var b strings.Builder
	if err := tomlTable(&b, nil, v); err != nil {
		return "", err
	}
	return b.String(), nil
}

func tomlTable(b *strings.Builder, at []string, v map[string]any) error {
	var tables []string
	for _, k := range slices.Sorted(maps.Keys(v)) {
		if _, ok := v[k].(map[string]any); ok {
			tables = append(tables, k)
			continue
		}
		s, err := tomlValue(v[k])
		if err != nil {
			return fmt.Errorf("%s: %w", strings.Join(append(at, k), "."), err)
		}
		fmt.Fprintf(b, "%s = %s\n", tomlKey(k), s)
	}
	for _, k := range tables {
		sub, path := v[k].(map[string]any), append(slices.Clone(at), tomlKey(k))
		// A table that only holds tables needs no header of its own.
		if !onlyTables(sub) {
			fmt.Fprintf(b, "\n[%s]\n", strings.Join(path, "."))
		}
		if err := tomlTable(b, path, sub); err != nil {
			return err
		}
	}
	return nil
}

func onlyTables(v map[string]any) bool {
	for _, x := range v {
		if _, ok := x.(map[string]any); !ok {
			return false
		}
	}
	return len(v) > 0
}

// tomlKey quotes a key unless it is a bare one.
func tomlKey(k string) string {
	bare := k != "" && !strings.ContainsFunc(k, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
	})
	if bare {
		return k
	}
	return tomlString(k)
}

func tomlValue(v any) (string, error) {
	switch x := v.(type) {
	case string:
		return tomlString(x), nil
	case bool:
		return strconv.FormatBool(x), nil
	case int:
		return strconv.Itoa(x), nil
	case int64:
		return strconv.FormatInt(x, 10), nil
	case uint64:
		return strconv.FormatUint(x, 10), nil
	case float64:
		if x == float64(int64(x)) {
			return strconv.FormatInt(int64(x), 10), nil
		}
		return strconv.FormatFloat(x, 'f', -1, 64), nil
	case []string:
		var out []string
		for _, s := range x {
			out = append(out, tomlString(s))
		}
		return "[" + strings.Join(out, ", ") + "]", nil
	case []any:
		var out []string
		for _, e := range x {
			s, err := tomlValue(e)
			if err != nil {
				return "", err
			}
			out = append(out, s)
		}
		return "[" + strings.Join(out, ", ") + "]", nil
	}
	return "", fmt.Errorf("a value of type %T has no place in TOML here", v)
}

// tomlString writes a basic string.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
