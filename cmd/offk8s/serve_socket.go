package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
)

// firstSocket is the descriptor of the first socket that systemd passes, sd_listen_fds(3).
const firstSocket = 3

// systemdSocket returns the listener that systemd passed to this process, or nil if it
// passed none.
func systemdSocket(getenv func(string) string, first uintptr) (net.Listener, error) {
	if getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	if n := getenv("LISTEN_FDS"); n != "1" {
		return nil, withHint(usagef("serve: systemd passed %q sockets, want one", n), "give the socket unit a single ListenStream=")
	}
	file := os.NewFile(first, "systemd")
	defer file.Close() // FileListener makes a copy
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("serve: socket of systemd: %w", err)
	}
	if _, ok := l.(*net.TCPListener); !ok {
		_ = l.Close()
		return nil, usagef("serve: systemd passed a socket of %s, want TCP", l.Addr().Network())
	}
	return l, nil
}
