package reader_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/reader"
)

func TestVerify(t *testing.T) {
	want := digest.FromString("hello")
	empty := digest.FromString("")
	tests := []struct {
		name, content string
		digest        digest.Digest
		size          int64
		got           string // bytes that pass
		err           error
		text          string
	}{
		{"right", "hello", want, 5, "hello", nil, ""},
		{"right, any size", "hello", want, reader.AnySize, "hello", nil, ""},
		{"sha512", "hello", digest.SHA512.FromString("hello"), 5, "hello", nil, ""},
		{"empty", "", empty, 0, "", nil, ""},
		{"other content", "hullo", want, 5, "hullo", reader.ErrMismatch, "content has digest " + digest.FromString("hullo").String() + ", want " + want.String()},
		{"other content, any size", "hullo", want, reader.AnySize, "hullo", reader.ErrMismatch, "want " + want.String()},
		{"longer", "hello!", want, 5, "hello", reader.ErrMismatch, "content has more than 5 bytes"},
		{"longer, any size", "hello!", want, reader.AnySize, "hello!", reader.ErrMismatch, "content has digest"},
		{"shorter", "hell", want, 5, "hell", reader.ErrMismatch, "content has 4 bytes, want 5"},
		{"not empty", "x", empty, 0, "", reader.ErrMismatch, "content has more than 0 bytes"},
		{"no digest", "hello", "", 5, "", digest.ErrDigestInvalidFormat, `digest ""`},
		{"unknown algorithm", "hello", "md5:5d41402abc4b2a76b9719d911017c592", 5, "", digest.ErrDigestUnsupported, "md5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for how, wrap := range map[string]func(io.Reader) io.Reader{
				"whole": func(r io.Reader) io.Reader { return r },
				"bytes": iotest.OneByteReader,
				"eof":   iotest.DataErrReader,
			} {
				r := reader.Verify(wrap(strings.NewReader(tt.content)), tt.digest, tt.size)
				got, err := io.ReadAll(r)
				if string(got) != tt.got || !errors.Is(err, tt.err) || err != nil && !strings.Contains(err.Error(), tt.text) {
					t.Errorf("%s: got %q, %v, want %q, %v", how, got, err, tt.got, tt.err)
				}
				if n, again := r.Read(make([]byte, 8)); n != 0 || again == nil || err != nil && again != err {
					t.Errorf("%s: second error %v after %v", how, again, err)
				}
			}
			if err := reader.VerifyBytes([]byte(tt.content), tt.digest, tt.size); !errors.Is(err, tt.err) {
				t.Errorf("VerifyBytes: %v, want %v", err, tt.err)
			}
		})
	}
}

// A caller that reads exactly size bytes and not the end learns of a wrong
// digest too.
func TestVerifyWithoutEOF(t *testing.T) {
	r := reader.Verify(strings.NewReader("hullo"), digest.FromString("hello"), 5)
	if n, err := io.Copy(io.Discard, io.LimitReader(r, 5)); n != 5 || !errors.Is(err, reader.ErrMismatch) {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

// An error of the device is not a mismatch.
func TestErrorsPassThrough(t *testing.T) {
	broken := errors.New("broken")
	for name, r := range map[string]io.Reader{
		"Verify":  reader.Verify(iotest.ErrReader(broken), digest.FromString("x"), 1),
		"Limit":   reader.Limit(iotest.ErrReader(broken), 1),
		"Context": reader.Context(t.Context(), iotest.ErrReader(broken)),
	} {
		if _, err := io.ReadAll(r); !errors.Is(err, broken) || errors.Is(err, reader.ErrMismatch) || errors.Is(err, reader.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLimit(t *testing.T) {
	for _, tt := range []struct {
		content string
		limit   int64
		got     string
		err     error
	}{
		{"hello", 6, "hello", nil},
		{"hello", 5, "hello", nil},
		{"hello", 4, "hell", reader.ErrTooLarge},
		{"hello", 0, "", reader.ErrTooLarge},
		{"", 0, "", nil},
	} {
		t.Run(fmt.Sprintf("%q of %d", tt.content, tt.limit), func(t *testing.T) {
			r := reader.Limit(strings.NewReader(tt.content), tt.limit)
			got, err := io.ReadAll(r)
			if string(got) != tt.got || !errors.Is(err, tt.err) {
				t.Errorf("got %q, %v", got, err)
			}
			if err != nil && err.Error() != fmt.Sprintf("content has more than %d bytes", tt.limit) {
				t.Errorf("got %q", err)
			}
			if _, again := r.Read(make([]byte, 1)); err != nil && again != err {
				t.Errorf("second error %v", again)
			}
		})
	}
}

func TestContext(t *testing.T) {
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	r := reader.Context(ctx, strings.NewReader("hello"))
	if n, err := io.ReadFull(r, make([]byte, 2)); n != 2 || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	cancel(stopped)
	if n, err := r.Read(make([]byte, 2)); n != 0 || !errors.Is(err, stopped) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestHead(t *testing.T) {
	h := reader.Head{Max: 4}
	for _, s := range []string{"ab", "cde", "f"} {
		// The reader alone, so that io.Copy could use a ReadFrom of Head.
		if n, err := io.Copy(&h, struct{ io.Reader }{strings.NewReader(s)}); n != int64(len(s)) || err != nil {
			t.Errorf("write %q: %d, %v", s, n, err)
		}
	}
	if h.String() != "abcd" || string(h.Bytes()) != "abcd" {
		t.Errorf("kept %q", h.Bytes())
	}
}

func ExampleVerify() {
	d := digest.FromString("hello")
	for _, content := range []string{"hello", "hell", "hello!"} {
		_, err := io.Copy(io.Discard, reader.Verify(strings.NewReader(content), d, 5))
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// content has 4 bytes, want 5
	// content has more than 5 bytes
}
