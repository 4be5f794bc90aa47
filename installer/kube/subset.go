package kube

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// difference describes the first difference between want and have, "" if have has all
// fields of want. It ignores other fields of have, which are defaults of the API server.
// An empty value in want matches a missing one, since the server drops empty values.
func difference(want, have any, at string) string {
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			if have == nil && len(w) == 0 {
				return ""
			}
			return differs(at, want, have)
		}
		for _, k := range slices.Sorted(maps.Keys(w)) {
			if k == "stringData" || at == "" && (k == "apiVersion" || k == "kind" || k == "status") {
				continue // write-only, or served in another version
			}
			if where := difference(w[k], h[k], at+"."+k); where != "" {
				return where
			}
		}
		return ""
	case []any:
		h, ok := have.([]any)
		if !ok && have == nil && len(w) == 0 {
			return ""
		}
		if !ok || len(h) != len(w) {
			return differs(at, want, have)
		}
		for i := range w {
			if where := difference(w[i], h[i], fmt.Sprintf("%s[%d]", at, i)); where != "" {
				return where
			}
		}
		return ""
	}
	if same(want, have) {
		return ""
	}
	return differs(at, want, have)
}

func same(want, have any) bool {
	if reflect.DeepEqual(want, have) {
		return true
	}
	if have == nil {
		return want == "" || want == false || want == float64(0)
	}
	a, okA := quantity(want)
	b, okB := quantity(have)
	return okA && okB && a == b
}

// quantity parses a quantity, which Kubernetes may reformat: "1000m" is "1".
func quantity(v any) (float64, bool) {
	if f, ok := v.(float64); ok {
		return f, true
	}
	s, ok := v.(string)
	if !ok || s == "" {
		return 0, false
	}
	digits := strings.TrimRight(s, "EPTGMKkimu")
	factor, ok := suffixes[s[len(digits):]]
	if !ok {
		return 0, false
	}
	f, err := strconv.ParseFloat(digits, 64)
	return f * factor, err == nil
}

// suffixes of quantities, k8s.io/apimachinery/pkg/api/resource.
var suffixes = map[string]float64{
	"": 1, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60,
}

func differs(at string, want, have any) string {
	if have == nil {
		return fmt.Sprintf(" has no %s", strings.TrimPrefix(at, "."))
	}
	return fmt.Sprintf(" has %s %s, want %s", strings.TrimPrefix(at, "."), short(have), short(want))
}

func short(v any) string {
	s := fmt.Sprintf("%v", v)
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:60], "") + "…"
	}
	return strconv.Quote(s)
}
