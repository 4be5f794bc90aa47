package drill_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/offk8s/offk8s/installer/drill"
)

// api is an API server with one ConfigMap, as etcd keeps it.
type api struct {
	mu      sync.Mutex
	exists  bool
	version int
	n       string
	puts    int
	// before, if set, sees each request and can answer it.
	before func(rw http.ResponseWriter, r *http.Request) bool
	// after, if set, changes what is stored after the write with a number.
	after func(a *api, number int)
}

type object struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion,omitempty"`
	} `json:"metadata"`
	Data map[string]string `json:"data"`
}

func (a *api) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.before != nil && a.before(rw, r) {
		return
	}
	const path = "/api/v1/namespaces/kube-system/configmaps"
	refuse := func(code int) {
		rw.WriteHeader(code)
		fmt.Fprintf(rw, `{"kind":"Status","message":"code %d"}`, code)
	}
	var in object
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		if json.NewDecoder(r.Body).Decode(&in) != nil || in.Metadata.Name != "offk8s-drill" {
			refuse(400)
			return
		}
	}
	if want := map[bool]string{true: path, false: path + "/offk8s-drill"}[r.Method == http.MethodPost]; r.URL.Path != want {
		refuse(400)
		return
	}
	switch {
	case r.Method == http.MethodPost && a.exists, r.Method == http.MethodPut && in.Metadata.ResourceVersion != strconv.Itoa(a.version):
		refuse(409)
		return
	case r.Method != http.MethodPost && !a.exists:
		refuse(404)
		return
	case r.Method == http.MethodDelete:
		a.exists = false
	case r.Method == http.MethodPost, r.Method == http.MethodPut:
		a.exists, a.version, a.n = true, a.version+1, in.Data["n"]
	}
	if r.Method == http.MethodPut {
		a.puts++
	}
	out := object{Data: map[string]string{"n": a.n}}
	out.Metadata.ResourceVersion = strconv.Itoa(a.version)
	_ = json.NewEncoder(rw).Encode(out)
	if n, err := strconv.Atoi(in.Data["n"]); err == nil && r.Method == http.MethodPut && a.after != nil {
		a.after(a, n)
	}
}

// direct is a transport that calls the server in this process.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	rec := httptest.NewRecorder()
	d.ServeHTTP(rec, r)
	if rec.Code == hung {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return rec.Result(), nil
}

// hung is the code of a server that does not answer.
const hung = 599

func start(t *testing.T, a *api) *drill.Writer {
	t.Helper()
	w, err := drill.Start(t.Context(), "https://api", direct{a})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func end(t *testing.T, a *api, w *drill.Writer) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if a.exists {
		t.Error("the ConfigMap is still there")
	}
}

func TestOutage(t *testing.T) {
	for name, answer := range map[string]func(rw http.ResponseWriter){
		"no answer": func(rw http.ResponseWriter) { rw.WriteHeader(hung) },
		"an error":  func(rw http.ResponseWriter) { rw.WriteHeader(500) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &api{exists: true, n: "77"} // of a drill that was killed
				w := start(t, a)
				if err := w.Steady(t.Context(), time.Minute); err != nil {
					t.Fatal(err)
				}
				w.Mark()
				down := time.Now()
				a.set(func(rw http.ResponseWriter, _ *http.Request) bool {
					out := time.Since(down) < 2*time.Second
					if out {
						answer(rw)
					}
					return out
				})
				if err := w.Steady(t.Context(), time.Minute); err != nil {
					t.Fatal(err)
				}
				took := time.Since(down)
				outage, c := w.Measure()
				if outage < 2*time.Second || outage > 3*time.Second {
					t.Errorf("outage %s, want 2 s and at most the time of a request more", outage)
				}
				if took < outage+2*time.Second {
					t.Errorf("steady after %s with an outage of %s", took, outage)
				}
				if c.Writes < 50 || c.Lost > 0 || c.Wrong > 0 {
					t.Errorf("counts %+v", c)
				}
				end(t, a, w)
			})
		})
	}
}

func (a *api) set(before func(http.ResponseWriter, *http.Request) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.before = before
}

func TestNoRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &api{}
		w := start(t, a)
		a.set(func(rw http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodDelete {
				rw.WriteHeader(503)
			}
			return r.Method != http.MethodDelete
		})
		if err := w.Steady(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("error %v, want the last failure", err)
		}
		if outage, _ := w.Measure(); outage < time.Minute {
			t.Errorf("outage %s, want that until now", outage)
		}
		end(t, a, w)
	})
}

// A write whose answer is lost may be there or not: neither is an error, and a late one
// changes nothing.
func TestUncertainWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &api{}
		w := start(t, a)
		n := 0
		a.set(func(rw http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut {
				return false
			}
			switch n++; n % 7 {
			case 1: // it arrives, but the answer does not
				var o object
				_ = json.NewDecoder(r.Body).Decode(&o)
				if o.Metadata.ResourceVersion == strconv.Itoa(a.version) {
					a.version, a.n = a.version+1, o.Data["n"]
				}
				rw.WriteHeader(500)
			case 2:
				rw.WriteHeader(500)
			default:
				return false
			}
			return true
		})
		if err := w.Steady(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, c := w.Measure(); c.Lost > 0 || c.Wrong > 0 {
			t.Errorf("counts %+v", c)
		}
		end(t, a, w)
	})
}

// A real server that forgets an acknowledged write, or makes one up, is found out.
func TestLostAndWrong(t *testing.T) {
	for name, tt := range map[string]struct {
		after       func(a *api, n int)
		lost, wrong int
	}{
		"sound":          {func(*api, int) {}, 0, 0},
		"lost":           {func(a *api, n int) { a.n = strconv.Itoa(n - 1) }, 1, 0},
		"lost at all":    {func(a *api, _ int) { a.exists = false }, 1, 0},
		"from elsewhere": {func(a *api, n int) { a.n = strconv.Itoa(n + 1000) }, 0, 1},
		"no number":      {func(a *api, _ int) { a.n = "x" }, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			enough := make(chan struct{})
			a := &api{after: func(a *api, n int) {
				if n == 5 {
					tt.after(a, n)
				}
				if n == 9 {
					close(enough)
				}
			}}
			srv := httptest.NewTLSServer(a)
			defer srv.Close()
			w, err := drill.Start(t.Context(), srv.URL, srv.Client().Transport)
			if err != nil {
				t.Fatal(err)
			}
			w.Mark()
			<-enough
			end(t, a, w)
			if _, c := w.Measure(); c.Lost != tt.lost || c.Wrong != tt.wrong {
				t.Errorf("counts %+v, want %d lost and %d wrong", c, tt.lost, tt.wrong)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for code, why := range map[int]string{hung: "deadline", 403: "code 403"} {
			a := &api{before: func(rw http.ResponseWriter, _ *http.Request) bool {
				rw.WriteHeader(code)
				fmt.Fprintf(rw, `{"message":"code %d"}`, code)
				return true
			}}
			_, err := drill.Start(t.Context(), "https://api", direct{a})
			if _, ok := errors.AsType[*drill.UnreachableError](err); !ok || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "https://api") {
				t.Errorf("error %v, want an UnreachableError with %q", err, why)
			}
		}
	})
}
