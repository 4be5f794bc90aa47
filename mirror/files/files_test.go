package files

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests"
)

// serve runs a server that answers with c; the error of each request goes to
// the channel.
func serve(t *testing.T, s *Sender, c *Content) (url string, errs chan error) {
	t.Helper()
	errs = make(chan error, 10)
	return handle(t, func(w http.ResponseWriter, r *http.Request) { errs <- s.Serve(w, r, c) }), errs
}

// listener accepts connections as mirrors do.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return NewConn(c), nil
}

// handle runs a server with connections of NewConn.
func handle(t *testing.T, f http.HandlerFunc) (url string) {
	t.Helper()
	server := httptest.NewUnstartedServer(f)
	server.Listener = listener{server.Listener}
	server.Config.ConnContext = WithConn
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

func fetch(t *testing.T, url string, header ...string) (*http.Response, []byte, error) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Said by name, so that the client decodes nothing by itself.
	r.Header.Set("Accept-Encoding", "identity")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// section writes content into the middle of a file.
func section(t *testing.T, content []byte) (*os.File, *io.SectionReader) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "bundle.tar"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.WriteAt(append(append(make([]byte, 512), content...), "trailer"...), 0); err != nil {
		t.Fatal(err)
	}
	// A section of a section, as a tar over a part of a file gives it.
	outer := io.NewSectionReader(f, 500, int64(len(content))+19)
	return f, io.NewSectionReader(outer, 12, int64(len(content)))
}

func random(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func TestServeLargeFromFile(t *testing.T) {
	content := random(2*piece + 12345)
	_, data := section(t, content)
	s := NewSender(Options{})
	url, errs := serve(t, s, &Content{Name: "large", Digest: digest.FromBytes(content), Data: data})
	for range 3 {
		_, got, err := fetch(t, url)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d bytes of %d, %v", len(got), len(content), err)
		}
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	resp, got, err := fetch(t, url, "Range", "bytes=100-5000099")
	if err != nil || resp.StatusCode != http.StatusPartialContent || !bytes.Equal(got, content[100:5000100]) {
		t.Fatalf("range: status %d, %d bytes, %v", resp.StatusCode, len(got), err)
	}
}

// readFromSpy records the extents that net/http gets.
type readFromSpy struct {
	http.ResponseWriter
	extents int
}

func (s *readFromSpy) ReadFrom(src io.Reader) (int64, error) {
	x, ok := src.(*extent)
	n, err := s.ResponseWriter.(io.ReaderFrom).ReadFrom(src)
	if ok && x.length == 0 {
		s.extents++
	}
	return n, err
}

func (s *readFromSpy) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Content of a file goes to the socket through the kernel.
func TestLargeGoesThroughTheKernel(t *testing.T) {
	content := random(2*piece + small + 1) // the last bytes pass through memory
	_, data := section(t, content)
	s, extents := NewSender(Options{}), make(chan int, 1)
	url := handle(t, func(w http.ResponseWriter, r *http.Request) {
		spy := &readFromSpy{ResponseWriter: w}
		if err := s.Serve(spy, r, &Content{Digest: digest.FromBytes(content), Data: data}); err != nil {
			t.Error(err)
		}
		extents <- spy.extents
	})
	_, got, err := fetch(t, url)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
	}
	if n := <-extents; n != 3 {
		t.Errorf("%d pieces came to their end as a file, want 3", n)
	}
}

// A client gets small content and its head in one packet.
func TestSmallIsOneWrite(t *testing.T) {
	content := random(10_000) // less than the loopback interface carries at once
	_, data := section(t, content)
	url, errs := serve(t, NewSender(Options{}), &Content{Digest: digest.FromBytes(content), Data: data})
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	from := bufio.NewReader(c)
	for want := uint32(1); want <= 3; want++ {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: m\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
		}
		if err := <-errs; err != nil {
			t.Error(err)
		}
		var info *unix.TCPInfo
		if err := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil || info == nil {
			t.Fatal(err)
		}
		if info.Data_segs_in != want {
			t.Fatalf("%d packets with %d answers", info.Data_segs_in, want)
		}
	}
}

func TestServeLargeFromMemory(t *testing.T) {
	content := random(5*small + 1)
	s := NewSender(Options{})
	url, _ := serve(t, s, &Content{Digest: digest.FromBytes(content), Data: io.NewSectionReader(bytes.NewReader(content), 0, int64(len(content)))})
	if _, got, err := fetch(t, url); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
	}
}

func TestT33TruncatedFileIs500(t *testing.T) {
	for _, size := range []int{1000, piece} {
		content := random(size)
		f, data := section(t, content)
		if err := f.Truncate(int64(512 + size - 1)); err != nil {
			t.Fatal(err)
		}
		s := NewSender(Options{})
		url, errs := serve(t, s, &Content{Name: "cut", Digest: digest.FromBytes(content), Data: data})
		resp, body, err := fetch(t, url)
		if err != nil || resp.StatusCode != http.StatusInternalServerError || resp.Header.Get("Etag") != "" {
			t.Errorf("%d bytes: status %d, %v: %.50q", size, resp.StatusCode, err, body)
		}
		if err := <-errs; !errors.Is(err, ErrStorage) {
			t.Errorf("%d bytes: error %v, want ErrStorage", size, err)
		}
	}
}

// shrinking loses its middle after the ends were looked at.
type shrinking struct{ *bytes.Reader }

func (s shrinking) ReadAt(b []byte, off int64) (int, error) {
	if off < 2*small && off+int64(len(b)) > 2*small || off == 2*small {
		return 0, errors.New("input/output error")
	}
	return s.Reader.ReadAt(b, off)
}

func TestT33ReadErrorBreaksTheConnection(t *testing.T) {
	content := random(8 * small)
	s := NewSender(Options{})
	data := io.NewSectionReader(shrinking{bytes.NewReader(content)}, 0, int64(len(content)))
	url, errs := serve(t, s, &Content{Name: "broken", Digest: digest.FromBytes(content), Data: data})
	resp, got, err := fetch(t, url)
	if err == nil {
		t.Errorf("status %d with %d bytes looks like a good answer", resp.StatusCode, len(got))
	}
	if err := <-errs; !errors.Is(err, ErrStorage) {
		t.Errorf("error %v, want ErrStorage", err)
	}
}

// A file that shrinks while sendfile reads it must end in a broken connection.
func TestT33FileShrinksWhileSending(t *testing.T) {
	content := random(6 * piece)
	f, data := section(t, content)
	s := NewSender(Options{})
	url, errs := serve(t, s, &Content{Name: "shrinks", Digest: digest.FromBytes(content), Data: data})
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, small)); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(piece); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil {
		t.Errorf("the client got %d bytes and no error", n)
	}
	if err := <-errs; !errors.Is(err, ErrStorage) {
		t.Errorf("error %v, want ErrStorage", err)
	}
}

func zstdContent(t *testing.T, plain []byte) *Content {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	stored := w.EncodeAll(plain, nil)
	return &Content{
		Name: "tool", Digest: digest.FromBytes(stored),
		Data:  io.NewSectionReader(bytes.NewReader(stored), 0, int64(len(stored))),
		Plain: manifests.Descriptor{Digest: digest.FromBytes(plain), Size: int64(len(plain))},
	}
}

func TestDecoded(t *testing.T) {
	for _, size := range []int{0, 1, small - 1, small, small + 1, 3*small + 7} {
		plain := random(size)
		s := NewSender(Options{})
		url, errs := serve(t, s, zstdContent(t, plain))
		for range 2 { // the second time with a decoder from the pool
			_, got, err := fetch(t, url)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%d bytes: got %d, %v", size, len(got), err)
			}
			if err := <-errs; err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
	}
}

// Parts of the decoded form are what they are of the whole: curl -C - resumes a program.
func TestDecodedRange(t *testing.T) {
	for _, size := range []int{1, small, 3*small + 7} {
		plain := random(size)
		url, errs := serve(t, NewSender(Options{}), zstdContent(t, plain))
		for _, cut := range [][2]int{{0, 1}, {size - 1, size}, {0, size}, {size / 2, size}, {size / 3, size / 2}, {small - 1, small + 1}, {small, 2 * small}, {small + 1, small + 2}} {
			from, to := cut[0], cut[1]
			if from >= to || to > size {
				continue
			}
			resp, got, err := fetch(t, url, "Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
			if err != nil || resp.StatusCode != http.StatusPartialContent || !bytes.Equal(got, plain[from:to]) {
				t.Errorf("%d to %d of %d: status %d, %d bytes, %v", from, to, size, resp.StatusCode, len(got), err)
			}
			if want := fmt.Sprintf("bytes %d-%d/%d", from, to-1, size); resp.Header.Get("Content-Range") != want {
				t.Errorf("Content-Range %q, want %q", resp.Header.Get("Content-Range"), want)
			}
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if resp, _, _ := fetch(t, url, "Range", fmt.Sprintf("bytes=%d-", size)); resp.StatusCode != http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("past the end: status %d", resp.StatusCode)
		}
	}
}

func TestT33DecodedThatIsNotWhatTheBundleSays(t *testing.T) {
	tests := []struct {
		name   string
		change func(c *Content)
	}{
		{"another digest", func(c *Content) { c.Plain.Digest = digest.FromString("other") }},
		{"longer", func(c *Content) { c.Plain.Size-- }},
		{"shorter", func(c *Content) { c.Plain.Size++ }},
		{"cut", func(c *Content) { c.Data = io.NewSectionReader(c.Data, 0, c.Data.Size()-9) }},
		{"not zstd", func(c *Content) { c.Data = io.NewSectionReader(strings.NewReader("plain text"), 0, 10) }},
	}
	for _, tt := range tests {
		for _, size := range []int{100, 4*small + 5} {
			t.Run(tt.name, func(t *testing.T) {
				c := zstdContent(t, random(size))
				tt.change(c)
				url, errs := serve(t, NewSender(Options{}), c)
				for _, part := range []string{"", "bytes=0-0", "bytes=50-"} {
					resp, got, err := fetch(t, url, "Range", part)
					if err == nil && resp.StatusCode < http.StatusBadRequest {
						t.Errorf("range %q: %d bytes with status %d look like a good answer", part, len(got), resp.StatusCode)
					}
					if err := <-errs; !errors.Is(err, ErrStorage) {
						t.Errorf("range %q: error %v, want ErrStorage", part, err)
					}
				}
			})
		}
	}
}

// The answer names the one of registry, cache and disk that it waits for.
func TestUnavailableNamesTheCause(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "/cache/blob-1", Err: unix.ENOSPC}
	for want, err := range map[string]error{
		"the registry": reader.ErrUnavailable, "is full of files": reader.ErrBusy,
		"cannot use its cache": fmt.Errorf("b: %w: %w", reader.ErrUnavailable, full),
	} {
		w := httptest.NewRecorder()
		Unavailable(w, err)
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), want) || strings.Contains(w.Body.String(), "/cache") {
			t.Errorf("%v: status %d, %q, want %q", err, w.Code, w.Body, want)
		}
	}
}

func TestDecodersAreBounded(t *testing.T) {
	c := zstdContent(t, random(small))
	s := NewSender(Options{Decoders: 1, WriteTimeout: 20 * time.Millisecond})
	s.decoders <- struct{}{} // somebody else has the only one
	url, _ := serve(t, s, c)
	resp, _, err := fetch(t, url)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("status %d, %v, want 503 with Retry-After", resp.StatusCode, err)
	}
	resp, _, err = fetch(t, url, "Accept-Encoding", "zstd")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("stored form: status %d, %v", resp.StatusCode, err)
	}
}

// A client that reads nothing is cut after the time for one piece.
func TestT32StalledReaderIsCut(t *testing.T) {
	content := random(4 * piece)
	_, file := section(t, content)
	for name, data := range map[string]*io.SectionReader{"file": file, "memory": io.NewSectionReader(bytes.NewReader(content), 0, int64(len(content)))} {
		url, errs := serve(t, NewSender(Options{WriteTimeout: 100 * time.Millisecond}), &Content{Digest: digest.FromBytes(content), Data: data})
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := <-errs; !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ErrStorage) {
			t.Errorf("%s: error %v, want that of the deadline", name, err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); err == nil {
			t.Errorf("%s: %d bytes look like a good answer", name, n)
		}
	}
}

func TestAcceptsZstd(t *testing.T) {
	tests := []struct {
		lines []string
		want  bool
	}{
		{nil, false},
		{[]string{"gzip"}, false},
		{[]string{"zstd"}, true},
		{[]string{"gzip, ZSTD ;q=0.5"}, true},
		{[]string{"gzip", "zstd"}, true},
		{[]string{"zstd;q=0"}, false},
		{[]string{"zstd;q=0.000"}, false},
		{[]string{"zstd;q=x"}, false},
		{[]string{"*"}, false},
		{[]string{"zstdx"}, false},
	}
	for _, tt := range tests {
		if got := acceptsZstd(http.Header{"Accept-Encoding": tt.lines}); got != tt.want {
			t.Errorf("%q: %v, want %v", tt.lines, got, tt.want)
		}
	}
}
