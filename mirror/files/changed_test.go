package files

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/opencontainers/go-digest"
)

// If the file changes while it is sent, the answer must not look complete, nor
// may one begin if the change comes before the first byte.
func TestT33ChangeWhileSending(t *testing.T) {
	changed := errors.New("changed")
	for _, size := range []int{1, small, small + 1, piece, 2*piece + 5} {
		content := random(size)
		_, data := section(t, content)
		for name, data := range map[string]*io.SectionReader{"file": data, "memory": io.NewSectionReader(bytes.NewReader(content), 0, int64(size))} {
			for before := range 2 { // looks at the file before the change
				if before == 1 && size <= small {
					continue // one look, after all was read
				}
				looks := 0
				url, errs := serve(t, NewSender(Options{}), &Content{
					Digest: digest.FromBytes(content), Data: data, Unchanged: func() error {
						if looks++; looks > before {
							return changed
						}
						return nil
					},
				})
				resp, got, err := fetch(t, url)
				if err == nil && resp.StatusCode == http.StatusOK {
					t.Errorf("%s, %d bytes: %d of them with status 200 look like a good answer", name, size, len(got))
				}
				if begun := resp != nil && resp.StatusCode == http.StatusOK; begun != (before == 1) {
					t.Errorf("%s, %d bytes, change after %d looks: an answer began: %v", name, size, before, begun)
				}
				if err := <-errs; !errors.Is(err, ErrStorage) || !errors.Is(err, changed) {
					t.Errorf("%s, %d bytes: error %v, want ErrStorage and its reason", name, size, err)
				}
			}
		}
	}
}

// After ErrChanged the caller can answer as if Serve had not been called.
func TestT33NothingIsSentOfAChangedFile(t *testing.T) {
	plain := random(3 * small)
	tests := map[string]*Content{
		"decoded": zstdContent(t, plain),
		"large":   {Digest: digest.FromBytes(plain), Data: io.NewSectionReader(bytes.NewReader(plain), 0, 3*small)},
		"small":   {Digest: digest.FromBytes(plain[:9]), Data: io.NewSectionReader(bytes.NewReader(plain), 0, 9)},
	}
	for name, c := range tests {
		c.Unchanged = func() error { return ErrChanged }
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			for _, part := range []string{"", "bytes=0-3", "bytes=5-"} {
				w, r := httptest.NewRecorder(), httptest.NewRequest(method, "/", nil)
				if part != "" {
					r.Header.Set("Range", part)
				}
				err := NewSender(Options{}).Serve(w, r, c)
				if !errors.Is(err, ErrChanged) || errors.Is(err, ErrStorage) {
					t.Errorf("%s: %s %q: error %v, want ErrChanged alone", name, method, part, err)
				}
				http.Error(w, "again", http.StatusServiceUnavailable)
				if w.Code != http.StatusServiceUnavailable || w.Body.String() != "again\n" {
					t.Errorf("%s: %s %q: status %d and %q were sent", name, method, part, w.Code, w.Body)
				}
				for _, k := range []string{"Etag", "Content-Range", "Content-Encoding", "Accept-Ranges", "Content-Length"} {
					if v := w.Header().Get(k); v != "" {
						t.Errorf("%s: %s %q: %s: %s is left", name, method, part, k, v)
					}
				}
			}
		}
	}
}
