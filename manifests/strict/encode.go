package strict

import (
	"encoding/json"

	"github.com/goccy/go-yaml"
)

// EncodeYAML returns v as YAML by way of JSON, so that both forms have the same
// field names.
func EncodeYAML(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(b)
}
