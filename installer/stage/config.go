package stage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
)

// merge returns base overlaid with over: maps are merged field by field, other values
// are replaced, and a nil value removes a field. It changes neither argument.
func merge(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range over {
		if v == nil {
			delete(out, k)
			continue
		}
		b, okB := out[k].(map[string]any)
		o, okO := v.(map[string]any)
		if okB && okO {
			out[k] = merge(b, o)
		} else {
			out[k] = v
		}
	}
	return out
}

// jsonConfig returns v as a configuration file. JSON is also YAML, and its keys are
// sorted.
func jsonConfig(v any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return "", fmt.Errorf("render configuration: %w", err)
	}
	return b.String(), nil
}
