// Package steptest holds the test suite for step kinds (Suite) and a host in a temporary
// directory (World).
package steptest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/step"
)

// World is a host in a directory: files are below Root, Programs answers program calls.
type World struct {
	Root string
	// Programs answers program calls; nil answers every call with "not found".
	Programs func(ctx context.Context, c step.Cmd) (step.Output, error)
	// Calls are the program calls so far.
	Calls [][]string
	// Secrets are the values of references.
	Secrets map[string]string
	// Log is the log of the steps.
	Log bytes.Buffer

	running   *sync.Mutex // held while a program runs, since checks run at the same time
	stamps    map[string]string
	artifacts map[digest.Digest][]byte
}

// New returns a host with an empty root and without programs.
func New(t testing.TB) *World {
	t.Helper()
	return &World{
		Root: t.TempDir(), Secrets: map[string]string{},
		running: &sync.Mutex{}, stamps: map[string]string{}, artifacts: map[digest.Digest][]byte{},
	}
}

// Env returns the environment of a step on this host.
func (w *World) Env() *step.Env {
	return &step.Env{
		Root: w.Root, Log: slog.New(slog.NewTextHandler(&w.Log, nil)), Run: runner{w},
		Secret: func(ref step.SecretRef) ([]byte, error) {
			if s, ok := w.Secrets[string(ref)]; ok {
				return []byte(s), nil
			}
			return nil, fmt.Errorf("secret %q: not in the request", ref)
		},
		Fetch: func(_ context.Context, plain digest.Digest) (io.ReadCloser, error) {
			b, ok := w.artifacts[plain]
			if !ok {
				return nil, fmt.Errorf("artifact %s: not in the lock", plain)
			}
			return io.NopCloser(bytes.NewReader(b)), nil
		},
		FetchImage: func(_ context.Context, _, part digest.Digest) (io.ReadCloser, error) {
			b, ok := w.artifacts[part]
			if !ok {
				return nil, fmt.Errorf("part %s: not on the mirror", part)
			}
			return io.NopCloser(bytes.NewReader(b)), nil
		},
		Stamp:    func(key string) string { return w.stamps[key] },
		SetStamp: func(key, value string) error { w.stamps[key] = value; return nil },
	}
}

// Artifact puts content on the mirror and returns its digest.
func (w *World) Artifact(content string) digest.Digest {
	d := digest.FromString(content)
	w.artifacts[d] = []byte(content)
	return d
}

// Forge makes the mirror respond to d with other content.
func (w *World) Forge(d digest.Digest, content string) { w.artifacts[d] = []byte(content) }

// Write puts a file on the host.
func (w *World) Write(t testing.TB, path, content string, mode fs.FileMode) {
	t.Helper()
	p := filepath.Join(w.Root, path)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p, mode); err != nil {
		t.Fatal(err)
	}
}

// Read returns a file of the host.
func (w *World) Read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.Root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Tree returns the mode, and the content or link target, of every path of the host.
func (w *World) Tree(t testing.TB) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(w.Root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(w.Root, p)
		if err != nil {
			return err
		}
		st, err := os.Lstat(p)
		if err != nil {
			return err
		}
		out[rel], err = entry(p, st)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func entry(p string, st fs.FileInfo) (string, error) {
	switch {
	case st.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(p)
		return "-> " + to, err
	case st.IsDir():
		return st.Mode().String(), nil
	}
	b, err := os.ReadFile(p)
	return st.Mode().String() + " " + string(b), err
}

// runner answers programs from World.
type runner struct{ w *World }

func (r runner) Run(ctx context.Context, c step.Cmd) (step.Output, error) {
	if err := context.Cause(ctx); err != nil {
		return step.Output{}, err
	}
	r.w.running.Lock()
	defer r.w.running.Unlock()
	r.w.Calls = append(r.w.Calls, c.Argv)
	if r.w.Programs == nil {
		return step.Output{}, &step.NotFoundError{Name: c.Argv[0]}
	}
	return r.w.Programs(ctx, c)
}

// Exit is the result of a program that exits with code and writes stderr.
func Exit(argv []string, code int, stderr string) (step.Output, error) {
	out := step.Output{Stderr: []byte(stderr)}
	return out, step.NewExitError(argv, code, out)
}

// Say is the result of a program that succeeds and writes stdout.
func Say(stdout string) (step.Output, error) {
	return step.Output{Stdout: []byte(stdout)}, nil
}
