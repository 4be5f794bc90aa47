package strict

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
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
		{"double key among many", `{"annotations":{` + manyKeys() + `,"k30":"x"}}`, `duplicate key "k30"`},
		{"double key in an object of many", `{"annotations":{` + manyKeys() + `,"k3":"x"}}`, `duplicate key "k3"`},
		{"comma at the end", `{"list":[{"size":1},]}`, "invalid character ']'"},
		{"comma after the last key", `{"name":"x",}`, "invalid character '}'"},
		{"no colon", `{"name" "x"}`, "invalid character"},
		{"no quotes", `{name:"x"}`, "invalid character"},
		{"no number", `{"inner":{"size":1 2}}`, "invalid character '2'"},
		{"zero byte at the end", "{\"name\":\"x\"}\x00", "invalid character"},
		{"cut in a string", `{"name":"x\`, "EOF"},
		{"bracket in a string", `{"name":"]}\\\"","nome":1}`, `unknown field "nome"`},
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

// manyKeys are the pairs k0 to k39 of an object.
func manyKeys() string {
	var pairs []string
	for i := range 40 {
		pairs = append(pairs, fmt.Sprintf(`"k%d":"x"`, i))
	}
	return strings.Join(pairs, ",")
}

// FuzzDecodeJSON compares the refused keys with those that the tokens of json.Decoder show.
func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,{"b":null,"b":2}],"c":"\\\""}`, `{"a":{"n\u0061me":1,"name":2}}`, ` [ { } , [ ] , -1.5e3 , true ] `, `{"a":1}}`, "{\"\x00\":1}",
		`{` + manyKeys() + `,"k20":1}`, `{"\ud800":1,"\ufffd":2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v any
		err := DecodeJSON(data, &v)
		if !json.Valid(data) || !utf8.Valid(data) {
			if err == nil {
				t.Fatal("accepted what is not JSON")
			}
			return
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		if want := doubleKey(t, dec); want != (err != nil) && (err == nil || !strings.Contains(err.Error(), "more than") && !strings.Contains(err.Error(), "nested")) {
			t.Errorf("double key: %v, error %v", want, err)
		}
	})
}

// doubleKey reports whether an object of the value at dec has a key twice.
func doubleKey(t *testing.T, dec *json.Decoder) bool {
	token := func() json.Token {
		dec.UseNumber()
		x, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	open, ok := token().(json.Delim)
	if !ok {
		return false
	}
	found, seen := false, map[string]bool{}
	for dec.More() {
		if open == '{' {
			key := token().(string)
			found, seen[key] = found || seen[key], true
		}
		found = doubleKey(t, dec) || found
	}
	token()
	return found
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
