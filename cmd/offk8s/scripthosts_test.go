package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/host/hosttest"
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// scriptHost: host NAME ADDRESS starts a machine of Rocky Linux 9 in the directory NAME, with a host key
// that nobody knows, a real agent, no programs but journalctl and head, and sudo with the
// password "secret". It accepts every login, and sets $NAME to its port and $NAME_KEY to
// the fingerprint of its key.
func scriptHost(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "host NAME ADDRESS")
	h := &storyHost{root: ts.MkAbs(args[0]), address: args[1], gauge: of(ts).gauge}
	of(ts).hosts[args[0]] = h
	for name, content := range map[string]string{
		"proc/sys/kernel/osrelease": "6.1\n", "proc/sys/kernel/hostname": args[0] + "\n", "proc/meminfo": "MemTotal: 4194304 kB\n",
		"etc/os-release": "ID=rocky\nVERSION_ID=\"9.5\"\n", "etc/hostname": args[0] + "\n", "run/systemd/system/.keep": "", "usr/lib/systemd/libsystemd-shared-252.so": "", "usr/bin/dnf": "",
	} {
		ts.Check(os.MkdirAll(filepath.Dir(filepath.Join(h.root, name)), 0o755))
		ts.Check(os.WriteFile(filepath.Join(h.root, name), []byte(content), 0o644))
	}
	ts.Setenv(args[0]+"_KEY", ssh.FingerprintSHA256(listenSSH(ts, args[0], nil, h.login)))
}

// scriptHold: hold NAME locks the host NAME for another operator, whose agent cannot be
// ended.
func scriptHold(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "hold NAME")
	file := filepath.Join(ts.MkAbs(args[0]), agent.StateDir, "lock")
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o700))
	unlock, err := durable.LockAs(file, fmt.Sprintf("alice@laptop since 2026-11-26T06:00:00Z, process %d on %s", os.Getpid(), args[0]))
	ts.Check(err)
	ts.Defer(func() { _ = unlock() })
}

// storyHost is a machine in a directory.
type storyHost struct {
	root, address string
	gauge         *gauge                           // counts connections that begin
	systemd       atomic.Pointer[steptest.Systemd] // nil unless the host is installed
	kinds         step.Kinds                       // of the command pretend, else nil
}

func (h *storyHost) login(c net.Conn, conf *ssh.ServerConfig) {
	hosttest.Answer(c, conf, h.shell, func(n ssh.NewChannel) { _ = n.Reject(ssh.UnknownChannelType, "no "+n.ChannelType()) })
}

// shell runs a command line.
func (h *storyHost) shell(line string, ch ssh.Channel) int {
	if err := h.run(shellWords(line), ch, ch.Stderr()); err != nil {
		fmt.Fprintln(ch.Stderr(), err)
		return 1
	}
	return 0
}

// shellWords splits a line as a shell does, if all its quotes are single.
func shellWords(line string) []string {
	var words []string
	var word strings.Builder
	quoted, escaped := false, false
	for _, c := range line + " " {
		switch {
		case escaped:
			escaped = false
			word.WriteRune(c)
		case c == '\'':
			quoted = !quoted
		case c == '\\' && !quoted:
			escaped = true
		case c == ' ' && !quoted:
			words = append(words, word.String())
			word.Reset()
		default:
			word.WriteRune(c)
		}
	}
	return words
}

// run runs a program as offk8s starts it: behind sudo for a user, and after a mark.
func (h *storyHost) run(argv []string, ch io.ReadWriter, stderr io.Writer) error {
	stdin := bufio.NewReader(ch)
	if i := slices.Index(argv, "sudo"); i >= 0 {
		if slices.Contains(argv, "-n") {
			return errors.New("sudo: a password is required")
		}
		fmt.Fprint(stderr, argv[slices.Index(argv, "-p")+1])
		if line, err := stdin.ReadString('\n'); err != nil || line != "secret\n" {
			return errors.New("sudo: 1 incorrect password attempt")
		}
		argv = argv[slices.Index(argv, "--")+1:]
	}
	fmt.Fprintln(ch, argv[4])
	argv = argv[5:]
	switch line := strings.Join(argv, " "); {
	case line == "true":
	case argv[0] == "journalctl":
		fmt.Fprintln(ch, line)
	case argv[0] == "head":
		b, err := os.ReadFile(filepath.Join(h.root, argv[len(argv)-1]))
		if err != nil {
			return err
		}
		_, err = ch.Write(b)
		return err
	case line == installer.AgentPath+" agent":
		return agent.Serve(context.Background(), stdin, factsWriter{ch, h.address}, agent.Options{Root: h.root, Run: h, HTTP: h, Kinds: h.kinds, Probe: noStations})
	case strings.Contains(line, "uname -m"):
		h.gauge.work()()
		fmt.Fprint(ch, "x86_64\nnone\n") // an upload follows
	case strings.Contains(line, "sha256sum <"):
		return h.upload(argv[len(argv)-2], stdin, ch)
	}
	return nil
}

// upload receives the program of the agent.
func (h *storyHost) upload(dir string, r io.Reader, w io.Writer) error {
	sum := sha256.New()
	dir = filepath.Join(h.root, dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, filepath.Base(installer.AgentPath)))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.MultiWriter(sum, f), r)
	fmt.Fprintf(w, "%x  -\n", sum.Sum(nil))
	return err
}

// Run implements step.Runner.
func (h *storyHost) Run(ctx context.Context, c step.Cmd) (step.Output, error) {
	if systemd := h.systemd.Load(); systemd != nil {
		return h.call(ctx, systemd, c)
	}
	return step.Output{}, &step.NotFoundError{Name: c.Argv[0]}
}

func noStations(_ context.Context, asked []probe.Probe) (out []probe.Answer) {
	for _, p := range asked {
		out = append(out, probe.Answer{Probe: p})
	}
	return out
}

// factsWriter writes the events of an agent, with this address of the host in its facts.
type factsWriter struct {
	w       io.Writer
	address string
}

// Write implements io.Writer.
func (f factsWriter) Write(b []byte) (int, error) {
	var e agent.Event
	if err := json.Unmarshal(b, &e); err != nil {
		return 0, err
	}
	if e.Facts == nil {
		return f.w.Write(b)
	}
	e.Facts.Addresses = []facts.Address{{Interface: "eth0", Prefix: netip.MustParsePrefix(f.address + "/24")}}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = f.w.Write(append(line, '\n'))
	}
	return len(b), err
}
