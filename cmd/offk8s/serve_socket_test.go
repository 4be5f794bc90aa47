package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestSystemdSocket(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	unix, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	own := strconv.Itoa(os.Getpid())
	for name, c := range map[string]struct {
		listener net.Listener
		pid, fds string
		address  string
		want     string
	}{
		"passed":               {tcp, own, "1", tcp.Addr().String(), ""},
		"none":                 {tcp, "", "", "", ""},
		"for another process":  {tcp, "1", "1", "", ""},
		"two":                  {tcp, own, "2", "", `passed "2" sockets`},
		"of another network":   {unix, own, "1", "", "socket of unix, want TCP"},
		"a name that is no fd": {tcp, own, "", "", `passed "" sockets`},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"LISTEN_PID": c.pid, "LISTEN_FDS": c.fds}
			got, err := systemdSocket(func(k string) string { return env[k] }, passed(t, c.listener))
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got == nil {
				if c.address != "" {
					t.Error("no listener")
				}
				return
			}
			defer got.Close()
			if got.Addr().String() != c.address {
				t.Errorf("address %s, want %s", got.Addr(), c.address)
			}
		})
	}
}

// passed returns a copy of the descriptor of l, which the callee closes.
func passed(t *testing.T, l net.Listener) uintptr {
	t.Helper()
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return uintptr(fd)
}
