package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/step/steptest"
)

// secretsAPI is an API server with Secrets, of which a list has two. A Secret has the number
// of the key that it is encrypted with.
type secretsAPI struct {
	t       *testing.T
	keys    map[string]int
	on      func(r *http.Request) int // another status, 0 for none
	expired bool                      // the next list cannot go on
}

func (f *secretsAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	code, answer := http.StatusOK, any(nil)
	name, ok := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/team/secrets/")
	switch {
	case f.on != nil && f.on(r) != 0:
		code, answer = f.on(r), map[string]string{"message": "no"}
	case ok && r.Method == http.MethodPut:
		var s map[string]any
		b, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(b, &s) != nil || s["kind"] != "Secret" || s["apiVersion"] != "v1" || s["data"] == nil {
			f.t.Errorf("PUT %s: %v\n%s", name, err, b)
		}
		f.keys[name] = 2
	case r.URL.Path == "/api/v1/secrets":
		q := r.URL.Query()
		if q.Get("limit") == "" {
			f.t.Error("a list without a limit")
		}
		if q.Get("continue") != "" && f.expired {
			f.expired = false
			code, answer = http.StatusGone, map[string]string{"message": "too old"}
			break
		}
		names := slices.Sorted(maps.Keys(f.keys))
		from := 0
		_, _ = fmt.Sscan(q.Get("continue"), &from) // 0 for the first
		next := ""
		if from+2 < len(names) {
			next = fmt.Sprint(from + 2)
		}
		var items []any
		for _, n := range names[from:min(from+2, len(names))] {
			items = append(items, map[string]any{"metadata": map[string]any{"namespace": "team", "name": n, "resourceVersion": "7"}, "data": map[string]string{"a": "Yg=="}, "type": "Opaque"})
		}
		answer = map[string]any{"metadata": map[string]string{"continue": next}, "items": items}
	default:
		f.t.Errorf("%s %s", r.Method, r.URL)
	}
	b, err := json.Marshal(answer)
	return &http.Response{StatusCode: code, Body: io.NopCloser(bytes.NewReader(b))}, err
}

func (f *secretsAPI) rewrite() (int, error) {
	a := &api{"https://api", "", f, func() {}}
	return a.rewriteSecrets(f.t.Context())
}

func (f *secretsAPI) old() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(f.keys)), func(n string) bool { return f.keys[n] == 2 })
}

func newSecrets(t *testing.T) *secretsAPI {
	f := &secretsAPI{t: t, keys: map[string]int{}}
	for i := range 5 {
		f.keys[fmt.Sprint("secret-", i)] = 1
	}
	return f
}

func TestRewrite(t *testing.T) {
	f := newSecrets(t)
	if n, err := f.rewrite(); n != 5 || err != nil || len(f.old()) > 0 {
		t.Errorf("%d, %v, old key: %v", n, err, f.old())
	}
	f = newSecrets(t)
	f.expired = true
	if n, err := f.rewrite(); n != 7 || err != nil || len(f.old()) > 0 {
		t.Errorf("after an expired list: %d, %v, old key: %v", n, err, f.old())
	}
	for code, want := range map[int]bool{http.StatusConflict: true, http.StatusNotFound: true, http.StatusInternalServerError: false, http.StatusForbidden: false} {
		f = newSecrets(t)
		f.on = func(r *http.Request) int {
			if strings.HasSuffix(r.URL.Path, "secret-3") {
				return code
			}
			return 0
		}
		if _, err := f.rewrite(); (err == nil) != want {
			t.Errorf("a Secret with status %d: %v", code, err)
		}
	}
}

func TestRewriteIsDoneOnce(t *testing.T) {
	w := steptest.New(t)
	env := w.Env()
	r := &Rewrite{Key: "key2"}
	if res, err := r.Check(t.Context(), env); err != nil || res.State != "differs" {
		t.Errorf("%+v, %v", res, err)
	}
	if err := env.SetStamp(rewriteStamp, "key2"); err != nil {
		t.Fatal(err)
	}
	if res, err := r.Check(t.Context(), env); err != nil || res.State != "ok" {
		t.Errorf("%+v, %v", res, err)
	}
	if res, err := (&Rewrite{Key: "key3"}).Check(t.Context(), env); err != nil || res.State != "differs" {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestKnownKey(t *testing.T) {
	config := func(keys ...string) string {
		text := "resources:\n"
		for _, k := range keys {
			text += "            - name: " + k + "\n              secret: of-" + k + "\n"
		}
		return text
	}
	for _, tt := range []struct {
		now, next string
		ok        bool
	}{
		{"", config("key1"), true},
		{config("key1"), config("key1", "key2"), true},
		{config("key2"), config("key1"), false},
		{config("key2", "key1"), config("key1"), false},
	} {
		w := steptest.New(t)
		k := &KnownKey{Path: "/etc/kubernetes/encryption-config.yaml", Ref: "secret:encryption-config"}
		w.Secrets = map[string]string{string(k.Ref): tt.next}
		if tt.now != "" {
			w.Write(t, k.Path, tt.now, 0o600)
		}
		_, err := k.Check(t.Context(), w.Env())
		if (err == nil) != tt.ok {
			t.Errorf("%q to %q: %v", tt.now, tt.next, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "key2") || strings.Contains(err.Error(), "of-key")) {
			t.Errorf("error %v: want the name of the key, not the key", err)
		}
	}
}
