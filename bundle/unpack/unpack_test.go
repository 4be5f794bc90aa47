package unpack_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle/unpack"
)

func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		body := ""
		if h.Typeflag == tar.TypeReg {
			body = "content of " + h.Name
			h.Size, h.Mode = int64(len(body)), 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func file(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }

func take(b []byte, names ...string) (map[string]string, error) {
	got := map[string]string{}
	err := unpack.Members(context.Background(), bytes.NewReader(b), names, func(name string, size int64, r io.Reader) error {
		body, err := io.ReadAll(r)
		got[name] = string(body)
		return err
	})
	return got, err
}

func TestMembers(t *testing.T) {
	plain := archive(t, file("./bin/runc"), file("bin/ctr"), file("../../etc/passwd"))
	for name, b := range map[string][]byte{"tar": plain, "gzip": gz(plain)} {
		t.Run(name, func(t *testing.T) {
			got, err := take(b, "bin/ctr", "bin/runc")
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"bin/runc": "content of ./bin/runc", "bin/ctr": "content of bin/ctr"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("members (-want +got):\n%s", diff)
			}
		})
	}
}

func TestT08MembersRefused(t *testing.T) {
	truncated := gz(archive(t, file("a"), file("b")))
	tests := []struct {
		name    string
		archive []byte
		want    error
		text    string
	}{
		{"missing", archive(t, file("b")), unpack.ErrMissing, `"a"`},
		{"other spelling", archive(t, file(".//a")), unpack.ErrMissing, `"a"`},
		{"symbolic link", archive(t, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"}), unpack.ErrMember, "symbolic link"},
		{"hard link", archive(t, file("b"), tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "b"}), unpack.ErrMember, "hard link"},
		{"directory", archive(t, tar.Header{Name: "a", Typeflag: tar.TypeDir}), unpack.ErrMember, "directory"},
		{"device", archive(t, tar.Header{Name: "a", Typeflag: tar.TypeChar}), unpack.ErrMember, "special file"},
		{"twice", archive(t, file("a"), file("a")), unpack.ErrMember, "twice"},
		{"twice by dot", archive(t, file("a"), file("./a")), unpack.ErrMember, "twice"},
		{"truncated gzip", truncated[:len(truncated)-6], io.ErrUnexpectedEOF, ""},
		{"zip", []byte("PK\x03\x04" + strings.Repeat("x", 600)), unpack.ErrFormat, ""},
		{"xz", []byte("\xfd7zXZ\x00" + strings.Repeat("x", 600)), unpack.ErrFormat, ""},
		{"empty", nil, unpack.ErrFormat, ""},
		{"short", []byte("hello"), unpack.ErrFormat, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := take(tt.archive, "a")
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %v with %q", err, tt.want, tt.text)
			}
		})
	}
}

func TestMembersCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := unpack.Members(ctx, bytes.NewReader(archive(t, file("a"))), []string{"a"}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestMembersReportsTheCallersError(t *testing.T) {
	boom := errors.New("disk full")
	err := unpack.Members(context.Background(), bytes.NewReader(archive(t, file("a"))), []string{"a"},
		func(string, int64, io.Reader) error { return boom })
	if !errors.Is(err, boom) {
		t.Errorf("got %v, want %v", err, boom)
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"runc": true, "kubernetes/server/bin/kubelet": true,
		"": false, "/runc": false, "../runc": false, "..": false, "a/../b": false, "a//b": false, "a/": false,
	} {
		if err := unpack.CheckName(name); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v, want ok %v", name, err, ok)
		}
	}
}

func FuzzMembers(f *testing.F) {
	f.Add(archive(f, file("a"), file("./b")))
	f.Add(gz(archive(f, file("a"))))
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := take(b, "a")
		if _, ok := got["a"]; err == nil && !ok {
			t.Error("no error and no member")
		}
	})
}
