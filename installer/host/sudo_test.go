package host_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/offk8s/offk8s/installer/host"
)

// standIn is a sudo for tests: it reads a password from stdin byte by byte, as sudo does,
// asks twice, and notes each attempt in $0.log. policy is shell code before that.
const standIn = `#!/bin/bash
%POLICY%
[ "$1" = -n ] && { echo "sudo: a password is required" >&2; exit 1; }
[ "$1 $2" = "-S -p" ] && prompt=$3 && [ "$4" = -- ] && shift 4 || exit 9
for try in 1 2; do
  printf %s "$prompt" >&2
  IFS= read -r got || { echo "sudo: no password was provided" >&2; exit 1; }
  echo "$got" >>"$0.log"
  [ "$got" = geheim ] && exec "$@"
  echo "Sorry, try again." >&2
done
echo "sudo: 2 incorrect password attempts" >&2
exit 1
`

// sudoHost returns a host with the stand-in whose shell runs rc first, and the passwords
// that the stand-in got.
func sudoHost(t *testing.T, name, policy, rc string, sudo *host.Sudo) (h host.Host, got func() string) {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "sudo")
	if err := os.WriteFile(bin, []byte(strings.Replace(standIn, "%POLICY%", policy, 1)), 0o755); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, nil)
	s.Shell = "PATH=" + dir + ":$PATH; " + rc + "\n"
	c := config(s)
	c.Name, c.User, c.Sudo = name, "ops", sudo
	c.HostKey = ssh.FingerprintSHA256(s.HostKey)
	h, err := host.DialSSH(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h, func() string { b, _ := os.ReadFile(bin + ".log"); return string(b) }
}

// The program gets exactly its stdin, and its output has nothing of the shell or of sudo.
func TestSudoPassword(t *testing.T) {
	for name, tt := range map[string]struct{ policy, rc, asked string }{
		"asks":               {"", "", "geheim\n"},
		"does not ask":       {`shift 4; exec "$@"`, "", ""},
		"lecture, warning":   {`echo "sudo: unable to resolve host" >&2; echo "We trust you" >&2`, "", "geheim\n"},
		"noisy shell":        {"", "echo hello; printf 'no newline'; echo to stderr >&2", "geheim\n"},
		"the shell traces":   {"", "set -x", "geheim\n"},
		"sudo-rs decorates":  {`set -- "$1" "$2" "[sudo: $3] Password: " "${@:4}"`, "", "geheim\n"},
		"an answer of 2 MiB": {"", "head -c 2097152 /dev/zero", "geheim\n"},
	} {
		t.Run(name, func(t *testing.T) {
			h, got := sudoHost(t, "cp-1", tt.policy, tt.rc, host.NewSudo([]byte("geheim")))
			var out, errOut strings.Builder
			err := h.Run(t.Context(), []string{"sh", "-c", "cat; echo err >&2"}, strings.NewReader("in\x00put"), &out, &errOut)
			if err != nil || out.String() != "in\x00put" || errOut.String() != "err\n" {
				t.Errorf("stdout %q, stderr %q, %v", out.String(), errOut.String(), err)
			}
			if got() != tt.asked {
				t.Errorf("sudo got %q, want %q", got(), tt.asked)
			}
			if out, err := host.Output(t.Context(), h, "echo", "again"); out != "again\n" || err != nil {
				t.Errorf("second program: %q, %v", out, err)
			}
		})
	}
}

// Each refusal of sudo is recognized, and its own text is quoted.
func TestSudoRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		policy   string
		password string
		want     error
	}{
		"no password given": {"", "", host.ErrSudoPassword},
		"requiretty":        {`echo "sudo: sorry, you must have a tty to run sudo" >&2; exit 1`, "", host.ErrSudoTTY},
		"not in sudoers":    {`printf %s "$3" >&2; read -r p; echo "ops is not in the sudoers file.  This incident will be reported." >&2; exit 1`, "geheim", host.ErrSudoers},
		"only other programs": {
			`printf %s "$3" >&2; read -r p; echo "Sorry, user ops is not allowed to execute '/bin/sh' as root on cp-1." >&2; exit 1`,
			"geheim", host.ErrSudoers,
		},
		"wrong password":  {"", "falsch", host.ErrSudoRefused},
		"wrong, one try":  {`printf %s "$3" >&2; read -r p || exit 1; echo "$p" >>"$0.log"; echo "sudo: 1 incorrect password attempt" >&2; exit 1`, "falsch", host.ErrSudoRefused},
		"wrong, no words": {`printf %s "$3" >&2; read -r p || exit 1; echo "$p" >>"$0.log"; exit 1`, "falsch", host.ErrSudoRefused},
		"no sudo":         {`echo "env: 'sudo': No such file or directory" >&2; exit 127`, "", host.ErrNoSudo},
	} {
		t.Run(name, func(t *testing.T) {
			var sudo *host.Sudo
			if tt.password != "" {
				sudo = host.NewSudo([]byte(tt.password))
			}
			h, got := sudoHost(t, "cp-1", tt.policy, "", sudo)
			for range 2 { // as when offk8s connects again
				_, err := host.Output(t.Context(), h, "true")
				if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), "cp-1") {
					t.Fatalf("error %v, want %v", err, tt.want)
				}
				if strings.Contains(err.Error(), tt.password) && tt.password != "" {
					t.Errorf("the error shows the password: %v", err)
				}
			}
			if tt.want == host.ErrSudoRefused && got() != "falsch\n" {
				t.Errorf("sudo got %q: want one attempt, since others lock the account", got())
			}
		})
	}
}

// A mistyped password is tried on one host of many. One that the first host accepts is
// tried on all, and the ones that refuse it are named.
func TestSudoManyHosts(t *testing.T) {
	const other = `[ -e "$0.other" ] || true` // the same stand-in
	run := func(password string, policies ...string) (errs []error, attempts int) {
		sudo := host.NewSudo([]byte(password))
		errs = make([]error, len(policies))
		var wg sync.WaitGroup
		var logs []func() string
		for i, p := range policies {
			h, got := sudoHost(t, "node-"+string(rune('1'+i)), p, "", sudo)
			logs = append(logs, got)
			start := func() { wg.Go(func() { errs[i] = h.Run(t.Context(), []string{"true"}, nil, io.Discard, io.Discard) }) }
			if start(); i == 0 && password == "geheim" {
				wg.Wait()
			}
		}
		wg.Wait()
		for _, got := range logs {
			attempts += strings.Count(got(), "\n")
		}
		return errs, attempts
	}
	errs, attempts := run("falsch", other, other, other, other)
	if err := errors.Join(errs...); attempts != 1 || strings.Count(err.Error(), "not tried here") != 3 {
		t.Errorf("a mistyped password: %d attempts on 4 hosts, want 1: %v", attempts, err)
	}
	for i, err := range errs {
		if !errors.Is(err, host.ErrSudoRefused) {
			t.Errorf("host %d: %v", i, err)
		}
	}
	const differs = `printf %s "$3" >&2; read -r p; echo "sudo: 1 incorrect password attempt" >&2; exit 1`
	errs, _ = run("geheim", other, other, differs)
	if errs[0] != nil || errs[1] != nil || !errors.Is(errs[2], host.ErrSudoRefused) || !strings.Contains(errs[2].Error(), "node-3") {
		t.Errorf("one host has another password: %v", errs)
	}
}

// A shell that ends before the program is quoted.
func TestLoginWithoutProgram(t *testing.T) {
	s := newServer(t, nil)
	s.Shell = "echo This account is currently not available.; exit 1\n"
	c := config(s)
	c.HostKey = ssh.FingerprintSHA256(s.HostKey)
	h, err := host.DialSSH(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := host.Output(t.Context(), h, "true"); err == nil || !strings.Contains(err.Error(), "not available") {
		t.Errorf("error %v, want the words of the shell", err)
	}
}
