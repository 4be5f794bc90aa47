package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/tarfile"
)

// rewrite writes a bundle again; change returns the new content of a member, nil
// for none.
func rewrite(t *testing.T, from, to string, change func(name string, content []byte) []byte) {
	t.Helper()
	in, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tarfile.NewWriter(&out)
	for r := tar.NewReader(bytes.NewReader(in)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if content = change(h.Name, content); content == nil {
			continue
		}
		if err := w.Add(h.Name, int64(len(content)), bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), os.WriteFile(to, out.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// Nothing passes as good unless a trusted key signed it, and hints are true.
func TestT02TrustIsNeverSilent(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv("XDG_STATE_HOME", dir)
	signed, key := bundletest.Small(t)
	public, stripped, empty := filepath.Join(dir, "k.pub"), filepath.Join(dir, "stripped.tar"), filepath.Join(dir, "empty.tar")
	if err := os.WriteFile(public, key.PublicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	signature := []string{bundle.MemberSignature, bundle.MemberSigstore}
	rewrite(t, signed, stripped, func(name string, content []byte) []byte {
		if slices.Contains(signature, name) {
			return nil
		}
		return content
	})
	rewrite(t, signed, empty, func(name string, content []byte) []byte {
		if name == bundle.MemberSignature {
			return []byte{}
		}
		return content
	})
	const allow = "--insecure-allow-unsigned"
	tests := []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"signed, key", []string{"--key", public, signed}, 0, ": good\n", ""},
		{"signed, key, allowed", []string{"--key", public, allow, signed}, 0, ": good\n", ""},
		{"signed, no key", []string{allow, signed}, 0, ": intact; signature NOT checked: no key\n", "signature NOT checked"},
		{"stripped, no key", []string{allow, stripped}, 0, ": intact; NOT signed\n", "NOT signed"},
		{"stripped, not allowed", []string{"--key", public, stripped}, 5, "", "hint: get a signed bundle; --insecure-allow-unsigned accepts"},
		{"stripped, key", []string{"--key", public, allow, stripped}, 5, "", "expected a signature by the given key"},
		{"empty signature", []string{"--key", public, empty}, 5, "", "hint: do not use this bundle"},
		{"empty signature, allowed", []string{allow, empty}, 5, "", "hint: do not use this bundle"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := runCommand(t, append([]string{"verify", "--progress", "none"}, tt.args...))
			if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("exit status %d, want %d\n%s%s", code, tt.code, stdout, stderr)
			}
			if strings.Contains(stdout, "good") != strings.Contains(tt.stdout, "good") {
				t.Errorf("says good: %s", stdout)
			}
		})
	}
}

func TestServeSaysThatThePortIsInUse(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	signed, key := bundletest.Small(t)
	public := filepath.Join(dir, "k.pub")
	if err := os.WriteFile(public, key.PublicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := runCommand(t, []string{"serve", "--key", public, "--listen", l.Addr().String(), signed})
	if code != 1 || !strings.Contains(stderr, "hint: is another offk8s serve running? --listen HOST:PORT") {
		t.Errorf("exit status %d: %s", code, stderr)
	}
}

// runCommand runs offk8s in this process.
func runCommand(t *testing.T, args []string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := newApp(strings.NewReader(""), &out, &errs)
	command := a.command()
	command.SetArgs(args)
	code = a.report(command.ExecuteContext(t.Context()))
	return code, out.String(), errs.String()
}
