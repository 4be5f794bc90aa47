package facts

import (
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/installer/step"
)

const (
	// ChronyMark begins a chrony.conf of offk8s. KeptMark is the comment in it before the
	// time servers that the host had before, up to the next empty line.
	ChronyMark = "# Written by offk8s"
	KeptMark   = "# kept: the time servers of this host before offk8s"
)

// maxTimeServers limits the lines of Clock.Servers.
const maxTimeServers = 16

// Clock describes which servers the host's clock follows.
type Clock struct {
	// Servers are the time sources of the host's own configuration, as lines of
	// chrony.conf(5). Public pools, which are the defaults of distributions, do not count.
	Servers []string `json:"servers,omitempty"`
	// Kept reports that offk8s kept Servers in an earlier run.
	Kept bool `json:"kept,omitempty"`
	// Synchronized reports that a program keeps the kernel's clock synchronized.
	Synchronized bool `json:"synchronized,omitempty"`
}

// clock reads the configuration of all programs that may set the clock.
func clock(env *step.Env) Clock {
	c := Clock{Synchronized: synchronized()}
	for _, path := range []string{"/etc/chrony.conf", "/etc/chrony/chrony.conf"} {
		text := read(env, path)
		if strings.HasPrefix(text, ChronyMark) {
			_, kept, ok := strings.Cut(text, KeptMark)
			kept, _, _ = strings.Cut(kept, "\n\n")
			return Clock{Servers: chronyServers(kept), Kept: ok, Synchronized: c.Synchronized}
		}
		c.Servers = append(c.Servers, chronyServers(text+included(env, text))...)
	}
	c.Servers = append(c.Servers, ntpServers(read(env, "/etc/ntp.conf")+read(env, "/etc/ntpsec/ntp.conf"))...)
	c.Servers = append(c.Servers, timesyncdServers(read(env, "/etc/systemd/timesyncd.conf")+
		readAll(env, "/etc/systemd/timesyncd.conf.d/*.conf"))...)
	c.Servers = unique(c.Servers)
	return c
}

// synchronized asks the kernel, as timedatectl(1) does.
func synchronized() bool {
	state, err := unix.Adjtimex(&unix.Timex{})
	return err == nil && state != unix.TIME_ERROR
}

// read returns a file with a newline at its end, "" if it cannot be read.
func read(env *step.Env, path string) string {
	b, err := env.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(b) + "\n"
}

func readAll(env *step.Env, pattern string) string {
	files, _ := filepath.Glob(env.Path(pattern)) // a bad pattern matches nothing
	var b strings.Builder
	for _, f := range files {
		b.WriteString(read(env, filepath.Join(filepath.Dir(pattern), filepath.Base(f))))
	}
	return b.String()
}

// included returns the files that a chrony.conf includes.
func included(env *step.Env, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || !filepath.IsAbs(f[1]) {
			continue
		}
		switch strings.ToLower(f[0]) {
		case "include":
			b.WriteString(readAll(env, f[1]))
		case "confdir":
			b.WriteString(readAll(env, f[1]+"/*.conf"))
		case "sourcedir":
			b.WriteString(readAll(env, f[1]+"/*.sources"))
		}
	}
	return b.String()
}

// chronyServers returns the lines of a chrony.conf that name time sources, and the file
// of keys if they need it.
func chronyServers(text string) []string {
	var out, keys []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		f[0] = strings.ToLower(f[0])
		switch f[0] {
		case "server", "pool", "peer", "refclock":
			out = append(out, strings.Join(f, " "))
		case "keyfile":
			keys = []string{strings.Join(f, " ")}
		}
	}
	out = unique(out)
	if slices.ContainsFunc(out, func(l string) bool { return slices.Contains(strings.Fields(l), "key") }) {
		out = append(out, keys...)
	}
	return out
}

// ntpServers reads ntp.conf(5). Addresses in 127.127 are clocks, not servers.
func ntpServers(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) > 1 && (f[0] == "server" || f[0] == "pool" || f[0] == "peer") && !strings.HasPrefix(f[1], "127.127.") && f[1][0] != '-' {
			out = append(out, f[0]+" "+f[1]+" iburst")
		}
	}
	return unique(out)
}

// timesyncdServers reads timesyncd.conf(5).
func timesyncdServers(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if names, ok := strings.CutPrefix(strings.TrimSpace(line), "NTP="); ok {
			for _, n := range strings.Fields(names) {
				out = append(out, "server "+n+" iburst")
			}
		}
	}
	return unique(out)
}

// unique returns the lines without repeats, public pools and what is no line of a
// configuration.
func unique(lines []string) []string {
	var out []string
	for _, l := range lines {
		strange := strings.ContainsFunc(l, func(r rune) bool { return r < ' ' || r > '~' })
		public := strings.HasSuffix(strings.Fields(l)[1], ".pool.ntp.org")
		if !strange && !public && len(l) <= 256 && len(out) < maxTimeServers && !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out
}
