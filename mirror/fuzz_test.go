package mirror

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// FuzzHTTPRequest sends whole requests. An answer with content of the bundle is exactly the
// part that its headers say, none has the canary beside the bundle, and no request makes the
// mirror fail.
func FuzzHTTPRequest(f *testing.F) {
	const file, program, image = "/files/cni/cni-plugins.tgz", "/files/kubernetes/1.36.3/amd64/kubelet", "/v2/pause/manifests/3.10"
	for _, lines := range []string{
		"", "Range: bytes=0-0", "Range: bytes=-5", "Range: bytes=3-", "Range: bytes=0-1,3-4", "Range: bytes=9223372036854775807-",
		"Range: bytes=2-4\r\nIf-Range: \"x\"", "Range: bytes=2-4\r\nRange: bytes=5-6", "Range: bytes=99-", "Range: pages=1-2",
		"If-None-Match: *", "If-Match: \"x\"", "If-None-Match: W/\"x\", \"y\"", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
		"Accept-Encoding: zstd", "Accept-Encoding: zstd;q=0", "Accept-Encoding: gzip, zstd;q=0.5, *", "Accept-Encoding: zstd\r\nRange: bytes=1-9",
		"Accept: text/html", "Accept-Language: zh-CN", "Host: evil\"><script>", "X-Original-URL: /etc/passwd", "X-Forwarded-Host: x",
		"Authorization: Basic eDp5", "Connection: Range", "Expect: 100-continue", "Transfer-Encoding: chunked", "Content-Length: 5", "Cookie: a=../../b",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, path := range []string{file, program, image, "/", "/v2/_catalog?n=99999999999&last=%00", "/files/SHA256SUMS"} {
				f.Add(fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: mirror\r\n%s\r\n\r\n", method, path, lines))
			}
		}
	}
	f.Add([]byte("PUT " + file + " HTTP/1.1\r\nHost: mirror\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("GET http://other" + file + " HTTP/1.0\r\n\r\n"))
	s := newSample(f)
	const secret = "canary 6f1d"
	if err := os.WriteFile(filepath.Join(filepath.Dir(s.Path()), "canary"), []byte(secret), 0o600); err != nil {
		f.Fatal(err)
	}
	m := mirrorOf(f, Options{}, s.Bundle)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		answer := w.Result()
		got := w.Body.Bytes()
		if bytes.Contains(got, []byte(secret)) || answer.StatusCode >= 500 || answer.Header.Get("Location") != "" {
			t.Fatalf("%q: status %d, %v: %.99q", raw, answer.StatusCode, answer.Header, got)
		}
		c := m.routes.paths[r.URL.Path]
		if c == nil || r.Method != http.MethodGet || answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusPartialContent {
			return
		}
		want := bytes.Clone(kubelet)
		if answer.Header.Get("Content-Encoding") == "zstd" || c.Plain.IsZero() {
			if want, err = io.ReadAll(io.NewSectionReader(c.Data, 0, c.Data.Size())); err != nil {
				t.Fatal(err)
			}
		}
		if answer.StatusCode == http.StatusPartialContent {
			var first, last, size int
			if _, err := fmt.Sscanf(answer.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size); err != nil ||
				size != len(want) || first < 0 || last < first || last >= size {
				t.Fatalf("%q: Content-Range %q of %d bytes", raw, answer.Header.Get("Content-Range"), len(want))
			}
			want = want[first : last+1]
		}
		if !bytes.Equal(got, want) || answer.Header.Get("Content-Length") != fmt.Sprint(len(want)) {
			t.Fatalf("%q: status %d, %d bytes, want %d; %v", raw, answer.StatusCode, len(got), len(want), answer.Header)
		}
	})
}
