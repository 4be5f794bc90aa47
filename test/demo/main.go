// Command demo runs offk8s against a small built-in upstream: keys, pack, verify,
// serve, clients that read from the mirror, and the plan for a cluster of three
// hosts. It needs neither root nor a network; it uses loopback and a temporary
// directory.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/bundle/upstreamtest"
)

func main() {
	out := flag.String("out", "", "keep the bundle, its lock, the public key and cluster.yaml in this directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := demo(ctx, *out)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// world holds the directory of the demo and the binary that it runs.
type world struct {
	dir, bin string
	env      []string
	began    time.Time
}

func demo(ctx context.Context, out string) error {
	dir, err := os.MkdirTemp("", "offk8s-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w := &world{dir: dir, bin: filepath.Join(dir, "offk8s"), began: time.Now()}
	// Keys, cache and state are in dir, apart from those of the user.
	w.env = append(foreign(os.Environ()), "HOME="+dir, "XDG_CONFIG_HOME="+dir+"/config", "XDG_CACHE_HOME="+dir+"/cache",
		"XDG_STATE_HOME="+dir+"/state", "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))

	fmt.Println("demo: builds offk8s, then packs, verifies, serves and plans")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", w.bin, "./cmd/offk8s")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build offk8s: %w", err)
	}
	if err := w.pack(ctx); err != nil {
		return err
	}
	if err := w.tamper(ctx); err != nil {
		return err
	}
	if err := w.serveAndRead(ctx); err != nil {
		return err
	}
	return w.keep(out)
}

// pack generates keys and packs a bundle from the built-in upstream.
func (w *world) pack(ctx context.Context) error {
	title("online: pack from the upstreams (here: a small one inside this program)")
	up, err := upstreamtest.Start(nil)
	if err != nil {
		return err
	}
	defer up.Close()
	if err := up.WriteCatalog(filepath.Join(w.dir, "catalog")); err != nil {
		return err
	}
	fmt.Println("\nThe --rewrite flags lead to the small upstream in this program; a pack from the internet needs none.")
	args := []string{"pack", "--version", "1.36", "--arch", "amd64", "--os", "rocky-9,debian-12", "-o", "bundle.tar", "--key", "offk8s.key", "--catalog", "catalog"}
	for _, m := range up.Rewrites() {
		if slices.Contains(needed, m.From) {
			args = append(args, "--rewrite", m.From+"="+m.To)
		}
	}
	return errors.Join(
		w.offk8s(ctx, 0, "keys", "generate", "-o", "offk8s.key", "--no-passphrase"),
		w.offk8s(ctx, 0, args...),
		w.offk8s(ctx, 0, "verify", "--key", "offk8s.pub", "bundle.tar"),
		w.offk8s(ctx, 0, "inspect", "--key", "offk8s.pub", "bundle.tar"),
	)
}

// needed are the upstreams of the demo's bundle.
var needed = []string{"apt:debian", "apt:debian-security", "ghcr.io", "https://dl.k8s.io", "https://dl.rockylinux.org", "https://github.com", "registry.k8s.io"}

// tamper shows that verify detects one changed byte.
func (w *world) tamper(ctx context.Context) error {
	title("on the way: one byte of a copy is changed")
	b, err := os.ReadFile(filepath.Join(w.dir, "bundle.tar"))
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(filepath.Join(w.dir, "tampered.tar"), b, 0o644); err != nil {
		return err
	}
	return w.offk8s(ctx, 4, "verify", "--key", "offk8s.pub", "tampered.tar")
}

// serveAndRead starts the mirror, reads from it as clients do, and prints a plan.
func (w *world) serveAndRead(ctx context.Context) error {
	title("offline: serve the tarball without unpacking it")
	m, err := w.serve(ctx)
	if err != nil {
		return err
	}
	defer m.stop()
	if err := w.read(ctx, m); err != nil {
		return err
	}
	title("targets: what install would do on three hosts")
	if err := os.WriteFile(filepath.Join(w.dir, "cluster.yaml"), []byte(fmt.Sprintf(cluster, m.url, m.fingerprint)), 0o644); err != nil {
		return err
	}
	return w.offk8s(ctx, 0, "plan", "-f", "cluster.yaml", "--key", "offk8s.pub")
}

const cluster = `apiVersion: offk8s.dev/v1
kind: Cluster
name: demo
mirror:
  url: %s
  caFingerprint: "%s"
hosts:
  - {name: cp-1, address: 192.0.2.11, roles: [control-plane, etcd], os: debian-12}
  - {name: node-1, address: 192.0.2.12, roles: [etcd, worker], os: rocky-9}
  - {name: node-2, address: 192.0.2.13, roles: [etcd, worker], os: debian-12}
`

// foreign returns env without the settings of offk8s.
func foreign(env []string) []string {
	return slices.DeleteFunc(env, func(s string) bool { return strings.HasPrefix(s, "OFFK8S_") })
}

func title(s string) { fmt.Printf("\n### %s\n", s) }

// show prints a command as a user would type it.
func show(args []string) {
	line := "offk8s"
	for _, a := range args {
		if strings.HasPrefix(a, "--rewrite") {
			line += " \\\n   "
		}
		line += " " + a
	}
	fmt.Println("\n$ " + line)
}

// offk8s runs the program and returns an error unless it exits with want.
func (w *world) offk8s(ctx context.Context, want int, args ...string) error {
	show(args)
	cmd := exec.CommandContext(ctx, w.bin, args...)
	var result bytes.Buffer // after the messages of the command, whatever the order of the two pipes
	stdout, stderr := &head{w: &result, max: 24}, &head{w: os.Stdout, max: 8}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.dir, w.env, stdout, stderr
	err := cmd.Run()
	stderr.end()
	stdout.end()
	os.Stdout.Write(result.Bytes())
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("offk8s %s: exit status %d, want %d", args[0], got, want)
	}
	if want != 0 {
		fmt.Printf("(exit status %d, as expected)\n", got)
	}
	return nil
}

// mirror is a running `offk8s serve`.
type mirror struct {
	url, fingerprint string
	stop             func()
}

func (w *world) serve(ctx context.Context) (*mirror, error) {
	args := []string{"serve", "--key", "offk8s.pub", "--listen", "127.0.0.1:0", "--state", "mirror-state", "bundle.tar"}
	show(args)
	cmd := exec.CommandContext(ctx, w.bin, args...)
	cmd.Dir, cmd.Env, cmd.Stderr = w.dir, w.env, os.Stdout
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	m := &mirror{stop: func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for sc := bufio.NewScanner(stdout); sc.Scan(); {
			lines <- sc.Text()
		}
	}()
	err = m.ready(lines)
	go func() {
		for range lines { // so that serve never waits for a reader
		}
	}()
	if err != nil {
		m.stop()
		return nil, err
	}
	return m, nil
}

// ready copies what serve prints at its start. Its end is a silence after the
// fingerprint: serve goes on running.
func (m *mirror) ready(lines <-chan string) error {
	wait := 30 * time.Second
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return errors.New("serve ended before it was ready")
			}
			fmt.Println(line)
			key, value, _ := strings.Cut(line, " ")
			switch value = strings.TrimSpace(value); key {
			case "mirror":
				m.url = value
			case "fingerprint":
				m.fingerprint, wait = value, 500*time.Millisecond
			}
		case <-time.After(wait):
			if m.fingerprint == "" {
				return fmt.Errorf("serve: not ready within %s", wait)
			}
			return nil
		}
	}
}

var kept = []string{"bundle.tar", "bundle.tar.lock.json", "offk8s.pub", "cluster.yaml"}

const next = `
To go on by hand, build offk8s (make build) and serve the bundle:

  bin/offk8s serve --key %[1]s/offk8s.pub --listen 127.0.0.1:8443 %[1]s/bundle.tar

Write the URL and the fingerprint that it prints into %[1]s/cluster.yaml, as mirror.url and
mirror.caFingerprint. Then, in another terminal:

  bin/offk8s plan --key %[1]s/offk8s.pub -f %[1]s/cluster.yaml
`

// keep copies the results to out.
func (w *world) keep(out string) error {
	took := time.Since(w.began).Round(time.Second)
	if out == "" {
		fmt.Printf("\ndemo: done in %s; `make demo OUT=DIR` keeps the bundle, the public key and the cluster.yaml\n", took)
		return nil
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, name := range kept {
		b, err := os.ReadFile(filepath.Join(w.dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(out, name), b, 0o644)
		}
		if err != nil {
			return err
		}
	}
	fmt.Printf("\ndemo: done in %s; kept in %s: %s\n", took, out, strings.Join(kept, ", "))
	fmt.Printf(next, out)
	return nil
}
