package fields

import "strings"

// Schema returns the JSON Schema (draft 2020-12) of a document with these fields.
func Schema(title string, fields []Field) map[string]any {
	s := objectSchema(fields)
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = title
	return s
}

func objectSchema(fields []Field) map[string]any {
	properties := map[string]any{}
	var required []string
	for _, f := range fields {
		name := f.Path[strings.LastIndex(f.Path, ".")+1:]
		s := typeSchema(f.Type, f.Fields)
		if f.Description != "" {
			s["description"] = f.Description
		}
		properties[name] = s
		if f.Required {
			required = append(required, name)
		}
	}
	s := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func typeSchema(name string, fields []Field) map[string]any {
	if elem, ok := strings.CutPrefix(name, "list of "); ok {
		return map[string]any{"type": "array", "items": typeSchema(strings.TrimSuffix(elem, "s"), fields)}
	}
	if elem, ok := strings.CutPrefix(name, "map of "); ok {
		return map[string]any{"type": "object", "additionalProperties": typeSchema(strings.TrimSuffix(elem, "s"), nil)}
	}
	switch name {
	case "object":
		return objectSchema(fields)
	case "date":
		return map[string]any{"type": "string", "format": "date"}
	case "any value":
		return map[string]any{}
	}
	return map[string]any{"type": name}
}
