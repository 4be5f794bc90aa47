package strict

import (
	"strings"
	"testing"
	"time"
)

type strictInner struct {
	Size int64 `json:"size"`
}

type strictEmbedded struct {
	SchemaVersion int `json:"schemaVersion"`
}

type strictOuter struct {
	strictEmbedded
	Name        string            `json:"name"`
	Created     time.Time         `json:"created,omitzero"`
	Inner       *strictInner      `json:"inner,omitempty"`
	List        []strictInner     `json:"list,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Any         any               `json:"any,omitempty"`
	hidden      int
}

func TestT11DecodeJSON(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"good", `{"schemaVersion":2,"name":"x","created":"2026-01-02T03:04:05Z","inner":{"size":1},"list":[{"size":2}],"annotations":{"a":"b","A":"c"},"any":{"q":[1,{"r":null}]}}`, ""},
		{"double key", `{"name":"x","name":"y"}`, `duplicate key "name"`},
		{"double key by escape", `{"name":"x","n\u0061me":"y"}`, `duplicate key "name"`},
		{"double key deep down", `{"any":{"a":[{"b":1,"b":2}]}}`, `duplicate key "b"`},
		{"double key in a map", `{"annotations":{"a":"1","a":"2"}}`, `duplicate key "a"`},
		{"unknown field", `{"name":"x","nome":"y"}`, `unknown field "nome"`},
		{"unknown field in a list", `{"list":[{"size":1},{"sise":1}]}`, `unknown field "sise"`},
		{"unknown field behind a pointer", `{"inner":{"sise":1}}`, `unknown field "sise"`},
		{"other case", `{"Name":"x"}`, `unknown field "Name"`},
		{"unexported", `{"hidden":1}`, `unknown field "hidden"`},
		{"trailing document", `{"name":"x"} {}`, "more than one"},
		{"trailing bytes", `{"name":"x"}}`, "more than one"},
		{"byte order mark", "\ufeff{}", "invalid character"},
		{"not UTF-8", "{\"name\":\"\xff\"}", "not UTF-8"},
		{"depth", `{"any":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "nested deeper"},
		{"wrong type", `{"inner":{"size":"1"}}`, "cannot unmarshal"},
		{"huge number", `{"inner":{"size":1e400}}`, "cannot unmarshal"},
		{"cut", `{"name":"x"`, "EOF"},
		{"cut in a list", `{"list":[`, "EOF"},
		{"empty", ``, "EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var v strictOuter
			err := DecodeJSON([]byte(tt.in), &v)
			if tt.want == "" {
				if err != nil || v.SchemaVersion != 2 || v.List[0].Size != 2 || v.hidden != 0 {
					t.Errorf("got %+v, %v", v, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestT11DecodeJSONSize(t *testing.T) {
	big := make([]byte, maxJSONSize+1)
	for i := range big {
		big[i] = ' '
	}
	if err := DecodeJSON(big, &strictOuter{}); err == nil || !strings.Contains(err.Error(), "are more than") {
		t.Errorf("got %v", err)
	}
}
